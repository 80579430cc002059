"""A service whose Ray dies; the last of the modules that share a service."""

import psutil

from tests.support.ray.service import Service, alive


def test_launcher_ends_with_an_error(service: Service) -> None:
    assert service.process is not None
    processes = service.process_tree()
    (raylet,) = service.processes_named("raylet")
    raylet.kill()
    assert service.process.wait(60) == 1
    assert "Ray has ended unexpectedly" in "".join(service.lines)
    psutil.wait_procs(processes, timeout=5)
    assert alive(processes, lambda process: process.status() != psutil.STATUS_ZOMBIE) == []
