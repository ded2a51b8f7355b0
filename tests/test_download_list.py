from pathlib import Path

import pytest

from pipeline.download_list import Download, read_list
from tests.project import ROOT

SHA256, MD5 = "a" * 64, "b" * 32


def test_entries(tmp_path):
    (tmp_path / "list.yaml").write_text(
        f"- {{url: 'https://x/a%20b.zip?c=d', sha256: {SHA256}}}\n"
        f"- {{url: [https://x/c.tar, s3://mirror/other.tar], md5: {MD5}, inner: [d/e.zip]}}\n"
        f"- {{url: https://x/, sha256: {SHA256}, md5: {MD5}, name: f.bin}}\n"
    )
    assert read_list(tmp_path / "list.yaml") == [
        Download(("https://x/a%20b.zip?c=d",), {"sha256": SHA256}, "a b.zip"),
        Download(("https://x/c.tar", "s3://mirror/other.tar"), {"md5": MD5}, "c.tar", ("d/e.zip",)),
        Download(("https://x/",), {"sha256": SHA256, "md5": MD5}, "f.bin"),
    ]


def test_sums_in_capitals(tmp_path):
    (tmp_path / "list.yaml").write_text(f"- {{url: https://x/a.zip, sha256: {SHA256.upper()}, md5: {MD5.upper()}}}\n")
    assert read_list(tmp_path / "list.yaml")[0].sums == {"sha256": SHA256, "md5": MD5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "not valid YAML"),
        ("url: x", "wanted a list of downloads"),
        ("[]", "wanted a list of downloads"),
        ("- a", "entry 1: url is None; wanted an address"),
        ("- {url: http://x/a.zip}", "entry 1: sha256 is None; wanted 64 hex digits, or md5 with 32"),
        ("- {url: http://x/a.zip, md5: 1}", "entry 1: md5 is 1; wanted 32 hex digits, so that"),
        (f"- {{url: http://x/a.zip, sha256: {SHA256}, md5: {SHA256}}}", "entry 1: md5 is 'a*'; wanted 32 hex digits"),
        ("- {url: a.zip, sha256: 1}", r"entry 1: url is 'a.zip'; wanted an address(?s:.*)entry 1: sha256 is 1"),
        (f"- {{url: [], sha256: {SHA256}, name: a}}", "entry 1: url is None; wanted an address"),
        (f"- {{url: [http://x/a, b], sha256: {SHA256}}}", "entry 1: url is 'b'; wanted an address .* or a list of them"),
        (f"- {{url: http://x/a, sha256: {SHA256}, size: 1}}", "entry 1: unknown size; known: url, sha256, md5, name, inner"),
        (f"- {{url: http://x/a, sha256: {SHA256}, name: ../b}}", "entry 1: name is '../b'; wanted a plain file name"),
        (f"- {{url: http://x/a, sha256: {SHA256}, inner: a.zip}}", "entry 1: inner is 'a.zip'; wanted a list of archives"),
        (f"- {{url: http://x/a, sha256: {SHA256}, inner: [../a.zip]}}", r"entry 1: inner is \['../a.zip'\]; wanted"),
        (f"- {{url: http://x/a, sha256: {SHA256}, inner: [a/../../b.zip]}}", "entry 1: inner is .* wanted"),
        (f"- {{url: http://x/a, sha256: {SHA256}, inner: [/a.zip]}}", "entry 1: inner is .* wanted"),
        (f"- {{url: http://x/, sha256: {SHA256}}}", "entry 1: name is ''"),
        (f"- {{url: http://x/a, sha256: {SHA256}}}\n- {{url: http://y/a, md5: {MD5}}}", "name 'a' stands there twice"),
    ],
)
def test_wrong_lists(tmp_path, content, message):
    (tmp_path / "list.yaml").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_list(tmp_path / "list.yaml")


@pytest.mark.parametrize("path", sorted(Path(ROOT, "presets/downloads").glob("*.yaml")), ids=lambda path: path.name)
def test_the_lists_of_the_presets(path):
    assert all(url.startswith(("http://", "https://")) for one in read_list(path) for url in one.urls)
