"""A service whose Ray dies: the last of the modules that share one."""

import psutil

from tests.support.ray.service import Service, alive


def test_the_launcher_ends_and_says_so(service: Service) -> None:
    assert service.process is not None
    family = service.family()
    (raylet,) = service.named("raylet")
    raylet.kill()
    assert service.process.wait(60) == 1
    assert "Ray has ended unexpectedly" in "".join(service.lines)
    psutil.wait_procs(family, timeout=5)
    assert alive(family, lambda process: process.status() != psutil.STATUS_ZOMBIE) == []
