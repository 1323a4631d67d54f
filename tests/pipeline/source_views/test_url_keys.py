"""Keys of web addresses, public addresses, and what headers say."""

import random
from datetime import UTC, datetime

import pytest

from pipeline.sources.web import url_keys
from pipeline.sources.web.rules import etag_of, is_public, opt_out, retry_after, size_of
from pipeline.sources.web.url_keys import PART, InvalidUrl, key_of_url, plain_url, url_of_key
from pipeline.storage.keys import problem_with


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://example.com/a/b.jpg", "https/example.com/a/b.jpg"),
        ("HTTPS://Example.COM:443/A.jpg?w=2#top", "https/example.com/A.jpg?w=2"),
        ("http://example.com:8080", "http/example.com:8080/%-"),
        ("http://example.com/a//b/../c/.", "http/example.com/a/%-/b/%-../c/%-."),
        ("http://example.com/?to=/../../etc/", "http/example.com/?to=/%-../%-../etc/%-"),
        (" http://example.com/a b%2Fc%zz\n", "http/example.com/a%20b%2Fc%25zz"),
        ("http://example.com/%2e%2e/x", "http/example.com/%2e%2e/x"),
        ("https://bücher.example/ü", "https/xn--bcher-kva.example/%C3%BC"),
        ("http://[2001:DB8::1]/x", "http/[2001:db8::1]/x"),
        ("http://example.com/" + "x" * 450, "http/example.com/" + "/%+".join(["x" * PART, "x" * PART, "x" * 50])),
    ],
)
def test_a_key_is_the_address_in_one_form_and_no_path_of_its_own(url: str, key: str) -> None:
    assert key_of_url(url) == key and url_of_key(key) == plain_url(url)
    assert problem_with(key) is None


def test_different_addresses_have_different_keys_that_lead_back_to_them() -> None:
    draw = random.Random(1)
    pieces = [
        "/",
        "//",
        "/b",
        "/c.jpg",
        "?d=1",
        ".",
        "..",
        "%",
        "%2f",
        "%-",
        "%+",
        "?",
        "&",
        "a",
        "é",
        " ",
        "x" * 199,
        "x" * 200,
        "x" * 201,
    ]
    urls = {plain_url("http://h/" + "".join(draw.choices(pieces, k=draw.randint(0, 9)))) for _ in range(3000)}
    keys = {key_of_url(url): url for url in urls}
    assert len(keys) == len(urls) > 1000
    for key, url in keys.items():
        assert url_of_key(key) == url and problem_with(key) is None
        assert url_keys._key_of_any(url) == key, "the short way for most addresses gives another key"


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("file:///etc/passwd", "scheme", "neither http nor https"),
        ("//example.com/x", "scheme", "neither http nor https"),
        ("http://me:secret@example.com/x", "credentials", "a user name or a password"),
        ("http:///x", "host", "no valid host"),
        ("http://../x", "host", "no valid host"),
        ("http://example.com:99999/", "host", "no valid host or port"),
        ("http://exa mple.com/", "host", "no valid host"),
        ("http://[fe80::1%25eth0]/", "host", "no valid host"),
        ("http://example.com/" + "x" * 4000, "long", "longer than 4000"),
        ("http://example.com/\ud800", "text", "no text"),
        ("  ", "empty", "no address"),
        (None, "empty", "no address"),
    ],
)
def test_what_is_no_address_has_a_key_that_says_why_and_shows_nothing_of_it(
    text: str | None, kind: str, reason: str
) -> None:
    key = key_of_url(text)
    assert key.startswith(f"invalid/{kind}") and "secret" not in key and problem_with(key) is None
    with pytest.raises(InvalidUrl, match=reason):
        url_of_key(key)


@pytest.mark.parametrize("key", ["", "x", "https/h", "https/h/../x", "https/H/x", "ftp/h/x", "https/h//x", "invalid/?"])
def test_a_key_that_no_address_has_leads_nowhere(key: str) -> None:
    with pytest.raises(ValueError, match=r"no address|neither|no valid"):
        url_of_key(key)


def test_addresses_that_are_not_public_are_known_in_every_dress() -> None:
    local = ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1"]
    inside = [
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "ff02::1",
    ]
    assert not [address for address in local + inside if is_public(address)]
    assert is_public("8.8.8.8") and is_public("2001:4860:4860::8888") and is_public("::ffff:8.8.8.8")


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        (["noai"], "noai"),
        (["all", "nofollow, NoImageAI"], "noimageai"),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST, noindex"], "noindex"),
        (["otherbot: noai, noindex"], None),
        (["otherbot: nofollow, maepress: noai"], "noai"),
        (["noarchive, max-image-preview: large"], None),
        ([], None),
    ],
)
def test_an_opt_out_counts_where_it_is_meant_for_us(headers: list[str], word: str | None) -> None:
    assert opt_out(headers) == word


def test_versions_sizes_and_waits_are_read_from_headers_that_may_say_anything() -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert etag_of({"ETag": 'W/"abc"', "Last-Modified": date}) == etag_of({"ETag": '"abc"'}) == "abc"
    assert etag_of({"Last-Modified": date}) == f"modified {date}"
    assert etag_of({"Content-Length": "12"}) == "size 12" and etag_of({}) == "no version"
    assert etag_of({"ETag": "x" * 5000}).startswith("sha256 ") and etag_of({"ETag": '"\udcff"'}).startswith("sha256 ")
    assert [size_of({"Content-Length": text}) for text in ("5", "-5", "9" * 30, "٣", "")] == [5, *[None] * 4]
    assert size_of({"Content-Length": "5", "Content-Encoding": "gzip"}) is None
    now = datetime(2015, 10, 21, 7, 27, tzinfo=UTC)
    assert retry_after({"Retry-After": "7"}) == 7.0 and retry_after({"Retry-After": date}, now) == 60.0
    assert [retry_after({"Retry-After": text}, now) for text in ("soon", "-1", "")] == [None] * 3
