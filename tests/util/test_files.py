"""Reading and writing files: what is kept, what is refused, and what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile

import pytest

from spica import SpicaError
from spica.util import files
from spica.util.files import open_archive, read_bytes, refuse_damage, write_atomically


def test_a_file_keeps_its_permissions_and_a_new_one_has_those_of_the_process(tmp_path):
    secret, new = tmp_path / "secret", tmp_path / "new"
    secret.write_bytes(b"old")
    secret.chmod(0o600)
    before = os.umask(0o027)
    try:
        write_atomically(secret, b"1")
        write_atomically(new, b"2")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert secret.stat().st_mode & 0o777 == 0o600 and new.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["new", "secret"]


def test_a_link_keeps_pointing_where_it_does(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to("real/file")
    for data in (b"1", b"2"):  # the file is made, then replaced
        write_atomically(link, data)
        assert link.is_symlink() and (tmp_path / "real/file").read_bytes() == data
    circle = tmp_path / "circle"
    circle.symlink_to("circle")
    with pytest.raises(SpicaError, match="circle: cannot be written"):
        write_atomically(circle, b"1")


def test_a_pipe_is_written_to_and_never_read(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(SpicaError, match="is a pipe or a device, not a file"):
        read_bytes(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, b"through")
    assert os.read(reader, 10) == b"through" and pipe.is_fifo()
    os.close(reader)


@pytest.mark.parametrize("path", [5, None, b"bytes", "a\0b", "\ud800"])
def test_what_is_no_path_is_refused(path):
    for use in (read_bytes, lambda p: write_atomically(p, b"")):
        with pytest.raises(SpicaError, match="is not a path"):
            use(path)


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_a_killed_write_leaves_the_old_file_and_the_next_one_clears_up(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    code = (
        "import os, sys, time; from spica.util import files\n"
        "files.os.fsync = lambda _: (print('there', flush=True), time.sleep(60))\n"
        f"files.write_atomically({str(path)!r}, b'new')"
    )
    killed = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert killed.stdout.readline() == b"there\n"
    write_atomically(path, b"meanwhile")  # does not touch what another process is writing
    assert len(os.listdir(tmp_path)) == 2
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert path.read_bytes() == b"meanwhile"
    write_atomically(path, b"after")
    assert os.listdir(tmp_path) == ["file"] and path.read_bytes() == b"after"


def test_a_file_that_takes_the_name_of_one_being_cleared_away_stays(tmp_path, monkeypatch):
    path, part, lock = tmp_path / "file", tmp_path / ".file.1-1.part", files.fcntl.flock
    part.write_bytes(b"done")

    def finish_and_begin_again(file, how):
        lock(file, how)
        if how & files.fcntl.LOCK_NB:  # its writer was faster: this one is in place, and the next one under its name
            part.rename(tmp_path / "elsewhere")
            part.write_bytes(b"next")

    monkeypatch.setattr(files.fcntl, "flock", finish_and_begin_again)
    write_atomically(path, b"new")
    assert part.read_bytes() == b"next"


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path):
    code = (
        "import sys; from spica.util.files import write_atomically\n"
        f"for i in range(50): write_atomically({str(tmp_path / 'file')!r}, sys.argv[1].encode() * 1000)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, word]) for word in "abc"]
    assert [w.wait() for w in writers] == [0, 0, 0]
    data = (tmp_path / "file").read_bytes()
    assert len(data) == 1000 and len(set(data)) == 1 and os.listdir(tmp_path) == ["file"]


def test_what_claims_to_unpack_to_too_much_is_refused_before_it_does(tmp_path, monkeypatch):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(3 << 20))
    monkeypatch.setattr(files, "LEAST_BUDGET", 1 << 20)
    start = time.perf_counter()
    with open(path, "rb") as file, pytest.raises(SpicaError, match="SPICA_UNPACKED_MIB=4"), open_archive("it", file):
        pass
    assert time.perf_counter() - start < 5
    monkeypatch.setenv("SPICA_UNPACKED_MIB", "4")
    with open(path, "rb") as file, open_archive("it", file) as archive:
        assert len(archive.read("zeros")) == 3 << 20


def test_whatever_a_reader_trips_over_is_one_line_with_its_cause():
    for error in (RecursionError("deep"), MemoryError(), UnicodeDecodeError("utf-8", b"", 0, 1, "a\nb")):
        with pytest.raises(SpicaError) as caught, refuse_damage("file", "is none of ours; save it again"):
            raise error
        assert str(caught.value).startswith("file: is none of ours (") and "\n" not in str(caught.value)
        assert str(caught.value).endswith("; save it again") and caught.value.__cause__ is error
