"""A machine that has no more room, processes or files is told, and nothing is left."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.supervisor.conftest import Fake
from tests.supervisor.test_guard import linux
from tests.supervisor.test_programs import PREAMBLE, ROOT, program, result

NOBODY = 65534


@linux
def test_a_full_disk_is_told_and_leaves_nothing(fake: Fake, tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    (tmp_path / "full").mkdir()
    mount = f"mount -t tmpfs -o size=4k,nr_inodes=1 none {tmp_path}/full"
    if (
        unshare is None
        or subprocess.run([unshare, "-m", "sh", "-c", mount], check=False).returncode
    ):
        pytest.skip("nothing can be mounted here")
    body = """
from mlxcel_integrations import MlxcelError
try:
    LLM("m", binary=binary).start()
except MlxcelError as error:
    say(error)
"""
    code = f'{mount} && exec {sys.executable} -W error -c "$CODE" {fake.binary()}'
    done = subprocess.run(
        [unshare, "-m", "sh", "-c", code],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "CODE": PREAMBLE + body,
            "XDG_RUNTIME_DIR": str(tmp_path / "full"),
            "TMPDIR": str(tmp_path / "full"),
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert "No space left on device" in done.stdout
    assert [] == fake.starts


LIMITED = """
import resource
from mlxcel_integrations import MlxcelError
def attempt():
    try:
        with LLM("m", binary=binary) as llm:
            return llm.chat("hi")
    except MlxcelError as error:
        return str(error)
def links():
    return [f"{number} {os.readlink(path)}" for number in os.listdir("/proc/self/fd")
            if os.path.exists(path := f"/proc/self/fd/{number}")]
def count():
    return len(os.listdir("/proc/self/fd"))
def settles():
    for _ in range(300):
        if count() <= before:
            return True
        time.sleep(0.01)
before = count()
"""


@pytest.mark.usefixtures("unmeasured")
@linux
def test_no_more_processes_is_told_and_leaves_nothing(fake: Fake, tmp_path: Path) -> None:
    body = f"""{LIMITED}
say(attempt())
if os.getuid() == 0:
    # Root has no limit. The other user may not look into the working directory.
    os.chdir({str(tmp_path)!r})
    os.setgroups([])
    os.setuid({NOBODY})
_, hard = resource.getrlimit(resource.RLIMIT_NPROC)
resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
say(attempt())
assert settles(), links()
"""
    # Where another user can look for it.
    binary = fake.runtime.with_suffix(".sh")
    shutil.copy(fake.binary(), binary)
    fake.runtime.chmod(0o777)
    tmp_path.chmod(0o700)
    returncode, out, error = result(body, str(binary))
    binary.unlink()

    assert (0, "") == (returncode, error)
    assert re.fullmatch(r"echo: hi\n(?!echo).+\n", out, re.DOTALL)
    assert 1 == len(fake.starts)
    fake.wait_for_nothing()


@linux
def test_no_more_files_is_told_at_whichever_one_is_missing(fake: Fake) -> None:
    body = f"""{LIMITED}
say(attempt())
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
for more in range(12):
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + more, hard))
    answer = attempt()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert settles(), (more, answer, links())
say(answer)
"""
    with program(body, fake.binary()) as owner:
        out, error = owner.communicate(timeout=60)

    assert ("", "echo: hi\necho: hi\n") == (error, out)
    fake.wait_for_nothing()
