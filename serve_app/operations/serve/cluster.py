"""A Ray cluster of one node that this process starts and stops, with Serve behind HAProxy.

Ray reads its flags from the environment when it is imported, so `ray` is imported only after
`LocalCluster.environment` has been applied.
"""

import contextlib
import logging
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import yaml

from deployments.domain.errors import BadSetting, StartupError
from serve_app.operations.machine import ports, processes
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.serve import ray_environment
from serve_app.settings import ROOT, Settings

_OBJECT_STORE_BYTES = 80 * 1024 * 1024  # the graph stores nothing in it; Ray's minimum is 75 MiB
_KEPT_SESSIONS = 3
_LONGEST_RAY_SOCKET = "session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
_LONGEST_HAPROXY_SOCKET = f"{'0' * 56}/metrics.sock"  # in a folder named by the node's id
_LONGEST_HELPER_SOCKET = "pymp-01234567/listener-01234567"  # multiprocessing's, in Ray's dashboard
_DEPLOY_TIMEOUT_S = 300.0
_STOP_TIMEOUT_S = 20.0
_LAST_STEP_TIMEOUT_S = 1.0
_SHORT_PATIENCE_S = 0.5
_CONTROL_PROCESS = "gcs_server"
_DAEMONS = {_CONTROL_PROCESS, "raylet"}


class LocalCluster:
    """Ray and Serve on this machine. Use it from the main thread."""

    def __init__(self, settings: Settings, folder: DataFolder) -> None:
        self._settings = settings
        self._folder = folder
        # Ray opens its folder to all users, so it is in a closed one.
        self._ray_dir = folder.socket_folder("ray", f"t/{_LONGEST_RAY_SOCKET}") / "t"
        self._haproxy_dir = folder.socket_folder("ha", _LONGEST_HAPROXY_SOCKET)
        self._temporary_dir = folder.socket_folder("tmp", _LONGEST_HELPER_SOCKET)
        self.has_haproxy = ray_environment.wants_haproxy()

    @property
    def logs(self) -> Path:
        return self._ray_dir / "session_latest" / "logs"

    def environment(self, dsn: str) -> dict[str, str]:
        """The variables that every process of the cluster must have in its environment."""
        api_port = self._settings.port
        reserved = [api_port, self._settings.dashboard_port]
        for preferred in (8500, 8404, 9101):
            reserved.append(ports.free(preferred, reserved))
        fallback, stats, metrics = reserved[2:]
        values = ray_environment.of_ray(self._temporary_dir, fallback)
        values |= ray_environment.of_token(self._folder.ray_token)
        if self.has_haproxy:
            values |= ray_environment.of_haproxy(
                self._haproxy_dir, self._settings.host, api_port, stats, metrics
            )
        else:
            values |= ray_environment.without_haproxy()
        return values | {"DATABASE_URL": dsn, "MEMEX_DATA_DIR": str(self._settings.data_dir)}

    def check_ports(self) -> None:
        """Raises BadSetting if a configured port is taken."""
        for name, host, port in (
            ("MEMEX_PORT", self._settings.host, self._settings.port),
            ("MEMEX_DASHBOARD_PORT", "127.0.0.1", self._settings.dashboard_port),
        ):
            try:
                ports.listen_once(host, port)
            except OSError as error:
                raise BadSetting(
                    f"{name}: cannot listen on {host}:{port} ({error.strerror})"
                ) from None

    def clean_up_leftovers(self) -> None:
        """End the processes and delete the files that a killed launcher left.

        On Linux, Ray's daemons end with the launcher, but HAProxy and some of their helpers do not.
        """
        self._folder.ray_address.unlink(missing_ok=True)
        for folder in (self._haproxy_dir, self._ray_dir):
            processes.end(processes.using(folder), _SHORT_PATIENCE_S)
        for folder in (self._haproxy_dir, self._temporary_dir):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
        sessions = sorted(path for path in self._ray_dir.glob("session_2*") if path.is_dir())
        for session in sessions[:-_KEPT_SESSIONS]:
            shutil.rmtree(session, ignore_errors=True)

    def start(self, report: Callable[[str], None]) -> None:
        """Start Ray and Serve. Raises StartupError."""
        try:
            with quiet():
                self._start(report)
        except Exception as error:  # whatever class Ray wraps it in
            raise StartupError(
                f"Ray could not be started: {cause(str(error))} (its logs: {self._ray_dir})"
            ) from error

    def _start(self, report: Callable[[str], None]) -> None:
        import ray
        from ray import serve

        logging.getLogger("ray").setLevel(logging.ERROR)
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        report("starting Ray")
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        ray.init(
            address="local",
            _temp_dir=str(self._ray_dir),
            _node_ip_address="127.0.0.1",
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            dashboard_port=self._settings.dashboard_port,
            object_store_memory=_OBJECT_STORE_BYTES,
            namespace="memex",
            log_to_driver=False,
            configure_logging=False,
        )
        for number, handler in handlers.items():
            signal.signal(number, handler)  # ray.init has replaced them
        report("starting Serve")
        config = self._deploy_config()
        serve.start(
            proxy_location=config["proxy_location"],
            http_options={k: v for k, v in config["http_options"].items() if k != "location"},
            logging_config=config["logging_config"],
        )

    def deploy(self, report: Callable[[str], None]) -> None:
        """Deploy serve_config.yaml; returns when all deployments run. Raises StartupError."""
        from ray.serve.context import _get_global_client
        from ray.serve.schema import ServeDeploySchema

        report("deploying the graph")
        config = self._deploy_config()
        client = _get_global_client()
        with quiet():
            client.deploy_apps(ServeDeploySchema.model_validate(config))
            self._wait_until_running(client, config)
        self._publish_address()

    def _publish_address(self) -> None:
        """Write the cluster's address to a file for other commands; `stop` deletes it."""
        import ray

        fresh = self._folder.ray_address.with_suffix(".new")
        fresh.write_text(ray.get_runtime_context().gcs_address, encoding="utf-8")
        fresh.rename(self._folder.ray_address)

    def _wait_until_running(self, client: Any, config: dict[str, Any]) -> None:
        from ray.serve.schema import ApplicationStatus

        wanted = {application["name"] for application in config["applications"]}
        deadline = time.monotonic() + _DEPLOY_TIMEOUT_S
        while True:
            statuses = {status.name: status.app_status for status in client.list_serve_statuses()}
            for name in wanted & statuses.keys():
                if statuses[name].status == ApplicationStatus.DEPLOY_FAILED:
                    raise StartupError(
                        f"application {name} does not start: {last_line(statuses[name].message)}"
                    )
            running = [
                name
                for name in wanted & statuses.keys()
                if statuses[name].status == ApplicationStatus.RUNNING
            ]
            if len(running) == len(wanted):
                return
            if time.monotonic() > deadline:
                raise StartupError(
                    f"the deployments were not ready after {_DEPLOY_TIMEOUT_S:.0f} s; "
                    f"see {self.logs}/serve"
                )
            time.sleep(0.1)

    def is_running(self) -> bool:
        """Whether Ray's daemons run. Ray itself watches everything else."""
        return _are_running(_DAEMONS)

    def stop(self) -> None:
        """Stop Serve and Ray, then any process that remains of them.

        If they do not stop in time, a hanging thread of Ray remains, which may crash an interpreter
        that is shutting down: end this process by `processes.leave`.
        """
        self._folder.ray_address.unlink(missing_ok=True)
        ray: Any = sys.modules.get("ray")
        if ray is None:
            return
        family = set(self._processes())
        patience_s = processes.PATIENCE_S
        if ray.is_initialized():
            from ray import serve

            with quiet():
                is_stopped = _finishes(serve.shutdown, _DAEMONS)
                # Ray ends the control process last.
                is_stopped = is_stopped and _finishes(ray.shutdown, {_CONTROL_PROCESS})
            if not is_stopped:
                patience_s = _SHORT_PATIENCE_S
        processes.end(family | set(self._processes()), patience_s)

    def _processes(self) -> list[psutil.Process]:
        """All descendants but Postgres, which stops after the cluster."""
        return [p for p in processes.descendants() if processes.name(p) != "postgres"]

    def _deploy_config(self) -> dict[str, Any]:
        config: dict[str, Any] = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
        # With HAProxy only replicas listen here; haproxy.sh sets the API's host.
        host = "127.0.0.1" if self.has_haproxy else self._settings.host
        config["http_options"] |= {"host": host, "port": self._settings.port}
        return config


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discard what Ray prints to a driver's terminal. We report failures ourselves, and Ray's logs
    contain them."""
    with (
        open(os.devnull, "w") as devnull,
        contextlib.redirect_stdout(devnull),
        contextlib.redirect_stderr(devnull),
    ):
        yield


def _finishes(step: Callable[[], None], needed: set[str]) -> bool:
    """Run a step of the shutdown; False if it hangs.

    It hangs without the daemons it needs, which a signal to our whole process group may end before
    us.
    """
    thread = threading.Thread(target=step, daemon=True)
    thread.start()
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while thread.is_alive() and time.monotonic() < deadline:
        if not _are_running(needed):
            thread.join(_LAST_STEP_TIMEOUT_S)
            break
        thread.join(0.1)
    return not thread.is_alive()


def _are_running(names: set[str]) -> bool:
    return names <= {processes.name(process) for process in processes.descendants()}


def cause(message: str) -> str:
    """The cause in an error message of Ray and HAProxy: the address that is taken, if it is that,
    otherwise the last line."""
    bind_errors = [line.strip() for line in message.splitlines() if "cannot bind" in line]
    return bind_errors[0] if bind_errors else last_line(message)


def last_line(message: str) -> str:
    """The error at the end of a traceback, without its class's module path."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    error = lines[-1] if lines else "deployment failed"
    return re.sub(r"^[\w.]+\.(?=[A-Z]\w+: )", "", error)
