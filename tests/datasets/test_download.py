"""Every fault of a server ends in the right bytes, or in a clear message and no half file."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pfml.datasets.download import DownloadError, Source, download
from tests.conftest import ROOT
from tests.datasets.http_faults import faulty_server, wait_until

BODY = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def server():
    with faulty_server() as server:
        server.files["/a"] = server.files["/b"] = BODY
        yield server


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def fetch(server, tmp_path, pauses):
    def _fetch(*paths, md5=MD5, manual=None, **options):
        sources = [Source(server.url + path, "data.bin", md5=md5, bytes=len(BODY)) for path in paths or ["/a"]]
        options = {"sleep": pauses.append, "timeout": 5, "attempts": 3} | options
        return download(sources, tmp_path / "folder", manual, **options)

    return _fetch


def contents(tmp_path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "folder").iterdir())


def begin(tmp_path, content=BODY[:100_000]):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/data.bin.part").write_bytes(content)


def test_a_good_server_is_asked_once_ever(fetch, server, tmp_path):
    assert fetch().read_bytes() == BODY
    assert fetch() == tmp_path / "folder/data.bin"
    assert len(server.requests) == 1 and contents(tmp_path) == ["data.bin"]


def test_a_dropped_connection_is_resumed_where_it_broke(fetch, server, tmp_path, pauses):
    server.plan["/a"] = [{"cut": 100_000}, {"cut": 50_000}]
    assert fetch().read_bytes() == BODY
    assert [r[1] for r in server.requests] == [None, "bytes=100000-", "bytes=150000-"]
    assert server.statuses("/a") == [200, 206, 206] and len(pauses) == 2 and contents(tmp_path) == ["data.bin"]


def test_a_server_without_ranges_is_read_from_zero(fetch, server, tmp_path):
    server.ranges = False
    server.plan["/a"] = [{"cut": 100_000}]
    assert fetch().read_bytes() == BODY and server.statuses("/a") == [200, 200]


@pytest.mark.parametrize("md5", [MD5, ""], ids=["checksum", "no checksum"])
@pytest.mark.parametrize("honours, statuses", [(True, [200, 200]), (False, [200, 206, 200])], ids=["If-Range", "ETag"])
def test_a_file_that_changed_on_the_server_is_read_from_zero(fetch, server, tmp_path, honours, statuses, md5):
    server.if_range = honours
    server.plan["/a"] = [{"cut": 100_000, "body": OTHER, "etag": '"old"'}]
    assert fetch(md5=md5).read_bytes() == BODY and contents(tmp_path) == ["data.bin"]
    assert server.statuses("/a") == statuses


def test_a_range_that_begins_elsewhere_is_not_appended(fetch, server):
    server.plan["/a"] = [{"cut": 100_000}, {"start": 0}]
    assert fetch(md5="").read_bytes() == BODY and server.statuses("/a") == [200, 206, 200]


def test_without_checksum_two_mirrors_are_not_mixed(fetch, server):
    server.files["/b"] = OTHER  # with the same ETag, which says nothing between two addresses
    server.plan["/a"] = [{"cut": 100_000}, {"status": 404}]
    assert fetch("/a", "/b", md5="").read_bytes() == OTHER


def test_without_validators_a_changed_file_is_found_by_its_checksum(fetch, server, tmp_path):
    server.etag = None
    server.plan["/a"] = [{"cut": 100_000, "body": OTHER}]
    assert fetch().read_bytes() == BODY
    assert server.statuses("/a") == [200, 206, 200] and contents(tmp_path) == ["data.bin"]


def test_passing_errors_are_retried_with_growing_pauses(fetch, server, pauses):
    server.plan["/a"] = [{"status": 500}, {"status": 503}, {"status": 429}]
    assert fetch(attempts=4).read_bytes() == BODY and pauses == [1, 2, 4]


def test_progress_resets_the_patience(fetch, server, pauses):
    server.plan["/a"] = [{"cut": 10_000}] * 8
    assert fetch(attempts=2).read_bytes() == BODY and set(pauses) == {1}


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_lasting_error_goes_to_the_mirror_at_once(fetch, server, pauses, status):
    server.plan["/a"] = [{"status": status}]
    assert fetch("/a", "/b").read_bytes() == BODY and not pauses
    assert [r[0] for r in server.requests] == ["/a", "/b"]


def test_the_mirror_goes_on_where_the_first_source_broke_for_good(fetch, server):
    server.plan["/a"] = [{"cut": 100_000}, {"status": 404}]
    assert fetch("/a", "/b").read_bytes() == BODY
    assert server.requests[-1] == ("/b", "bytes=100000-", 206)


def test_wrong_content_is_thrown_away_and_the_mirror_asked(fetch, server, tmp_path):
    server.files["/a"] = OTHER
    assert fetch("/a", "/b").read_bytes() == BODY and contents(tmp_path) == ["data.bin"]


def test_wrong_content_everywhere_names_both_checksums_and_leaves_nothing(fetch, server, tmp_path):
    server.files["/a"] = OTHER
    with pytest.raises(DownloadError) as error:
        fetch()
    assert MD5 in str(error.value) and hashlib.md5(OTHER).hexdigest() in str(error.value) and not contents(tmp_path)


def test_a_truncating_server_keeps_the_beginning_for_later_and_says_so(fetch, server, tmp_path):
    server.plan["/a"] = [{"cut": 100_000}] + [{"status": 503}] * 3
    with pytest.raises(DownloadError, match=r"HTTP 503.*gave up after 3 attempts, 100,000 bytes are kept"):
        fetch()
    assert contents(tmp_path) == ["data.bin.part", "data.bin.part.json"]
    assert fetch().read_bytes() == BODY and server.requests[-1][1] == "bytes=100000-"
    assert contents(tmp_path) == ["data.bin"]


def test_a_server_that_always_cuts_at_the_same_byte_ends(fetch, server, pauses):
    server.ranges = False
    server.plan["/a"] = [{"cut": 100_000}] * 20
    with pytest.raises(DownloadError, match="closed after 100,000 of 300,000 bytes"):
        fetch()
    assert len(server.requests) == 4  # one with progress, three without


def test_a_silent_server_times_out_and_is_resumed(fetch, server):
    server.plan["/a"] = [{"stall": 50_000}]
    assert fetch(timeout=0.3).read_bytes() == BODY and server.statuses("/a") == [200, 206]


def test_a_web_page_in_place_of_the_file_is_recognised(fetch, server, tmp_path):
    server.plan["/a"] = [{"body": b"<html>quota exceeded", "kind": "text/html; charset=utf-8"}]
    with pytest.raises(DownloadError, match="web page"):
        fetch()
    assert not contents(tmp_path)


@pytest.mark.parametrize("announced", [True, False])
def test_far_too_much_is_cut_off(fetch, server, tmp_path, announced):
    server.plan["/a"] = [{"body": bytes(4_000_000), "length": announced}]
    with pytest.raises(DownloadError, match="expected about 300,000: not this file"):
        fetch()
    assert not contents(tmp_path)


def test_without_announced_length_the_checksum_decides(fetch, server):
    server.plan["/a"] = [{"length": False, "cut": 100_000}]
    assert fetch("/a", "/b").read_bytes() == BODY


def test_a_whole_part_file_is_only_verified(fetch, server, tmp_path):
    begin(tmp_path, BODY)
    assert fetch().read_bytes() == BODY and server.statuses("/a") == [416]


@pytest.mark.parametrize("md5", [MD5, ""], ids=["checksum", "no checksum"])
def test_a_part_file_that_is_too_long_is_started_over(fetch, server, tmp_path, md5):
    begin(tmp_path, OTHER + b"more")
    state = {"url": server.url + "/a", "validator": server.etag}
    (tmp_path / "folder/data.bin.part.json").write_text(json.dumps(state))
    assert fetch(md5=md5).read_bytes() == BODY and server.statuses("/a") == [416, 200]


def test_without_checksum_a_beginning_of_unknown_origin_is_not_continued(fetch, server, tmp_path):
    begin(tmp_path, OTHER[:100_000])
    assert fetch(md5="").read_bytes() == BODY and server.statuses("/a") == [200]


def test_without_checksum_a_known_beginning_is_continued(fetch, server):
    server.plan["/a"] = [{"cut": 100_000}]
    assert fetch(md5="").read_bytes() == BODY and server.statuses("/a") == [200, 206]


def test_a_damaged_file_on_disk_is_fetched_again(fetch, tmp_path):
    fetch().write_bytes(BODY[:-1] + b"?")
    assert fetch().read_bytes() == BODY


def test_a_file_fetched_by_hand_is_used_in_place(fetch, server, tmp_path):
    (tmp_path / "manual").mkdir()
    path = tmp_path / "manual/data.bin"
    path.write_bytes(BODY)
    assert fetch(manual=path.parent) == path and not server.requests


def test_a_wrong_file_fetched_by_hand_is_named_and_left_alone(fetch, server, tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(OTHER)
    with pytest.raises(DownloadError) as error:
        fetch(manual=tmp_path)
    for said in (str(path), MD5, hashlib.md5(OTHER).hexdigest()):
        assert said in str(error.value)
    assert path.read_bytes() == OTHER and not server.requests


def test_sources_by_hand_are_explained_with_everything_that_was_tried(server, tmp_path):
    page = Source("https://kaggle.example/set", "data.bin", md5=MD5, by_hand="log in and press Download")
    gone = Source(server.url + "/gone", "data.bin", md5=MD5, note="moved in 2023")
    with pytest.raises(DownloadError) as error:
        download([gone, page], tmp_path / "folder", tmp_path / "manual")
    message = str(error.value)
    for said in ("/gone: HTTP 404", "moved in 2023", page.url, "log in and press Download", MD5, "manual/data.bin"):
        assert said in message
    assert not contents(tmp_path)


def test_a_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    server.files["http://data.example/a"] = BODY  # a proxy is asked for the whole address
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    got = download([Source("http://data.example/a", "data.bin", md5=MD5)], tmp_path, attempts=1)
    assert got.read_bytes() == BODY


def test_a_folder_that_cannot_be_made_is_named(fetch, tmp_path):
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(DownloadError, match=r"folder/data\.bin\.part: cannot be written"):
        fetch()


def test_a_full_disk_is_named_and_what_came_is_kept(fetch, server, tmp_path, pauses):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # the system refuses to write on, as with a full disk
    try:
        with pytest.raises(DownloadError, match="cannot be written"):
            fetch("/a", "/b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not pauses and len(server.requests) == 1  # neither a retry nor a mirror mends a disk
    assert fetch().read_bytes() == BODY and server.requests[-1][1] == "bytes=100000-"


def test_too_little_room_is_said_before_anything_is_written(fetch, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 200_000}))
    with pytest.raises(DownloadError, match="300,000 bytes are still to come, 200,000 are free"):
        fetch()
    assert not contents(tmp_path)


CHILD = """
import sys
from pfml.datasets.download import Source, download
url, md5, folder = sys.argv[1:]
print(download([Source(url, "data.bin", md5=md5)], folder).stat().st_size)
"""


def test_a_killed_process_is_resumed_by_the_next_and_two_never_mix(fetch, server, tmp_path):
    server.plan["/a"] = [{"stall": 120_000}]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", CHILD, server.url + "/a", MD5, str(tmp_path / "folder")]
    part = Path(tmp_path / "folder/data.bin.part")
    first = subprocess.Popen(command, env=env)
    try:
        wait_until(lambda: part.exists() and part.stat().st_size == 120_000)
        with pytest.raises(DownloadError, match="another process is fetching"):
            fetch()
        first.send_signal(signal.SIGKILL)
    finally:
        first.kill()
        first.wait()
    assert contents(tmp_path) == ["data.bin.part", "data.bin.part.json"]
    second = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert second.stdout == "300000\n" and not second.stderr  # quiet where there is no terminal
    assert (tmp_path / "folder/data.bin").read_bytes() == BODY and contents(tmp_path) == ["data.bin"]
    assert server.requests == [("/a", None, 200), ("/a", "bytes=120000-", 206)]
