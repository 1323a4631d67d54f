"""No run, successful or not, prints or stores credentials."""

from pathlib import Path

import pytest

from jobs.commands import encode, status
from jobs.demo.s3_server import S3Server
from jobs.framework.settings import redact

SECRETS = ("Qx7kk/w8+ZZr/Kp9tt", "Vb3mmW5nnR")
"""AWS's secret keys may hold a slash, which parsers of URLs take for the end of the host."""


@pytest.mark.parametrize("secret", SECRETS, ids=["with-slashes", "without"])
@pytest.mark.parametrize("url", ["s3://KEYID:{}@bucket/photos", "gs://user:{}@bucket", "ftp://user:{}@host/x"])
def test_a_secret_in_a_url_is_refused_and_not_repeated(
    secret: str, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([url.format(secret), str(tmp_path / "a")], [str(tmp_path), url.format(secret)]):
        assert encode.main(arguments) == 2
        output = "".join(capsys.readouterr())
        assert all(part not in output for part in (secret, *secret.split("/")))
    assert status.main([url.format(secret)]) == 2
    assert "must not carry credentials" in capsys.readouterr().err


def test_redacting_takes_out_secrets_and_nothing_else() -> None:
    assert redact("at s3://id:a/b+c@bucket/x: no") == "at s3://***@bucket/x: no"
    assert redact("at s3://token@bucket/x: no") == "at s3://***@bucket/x: no"
    assert redact("s3://bucket/a:b@c and http://127.0.0.1:80/x") == "s3://bucket/a:b@c and http://127.0.0.1:80/x"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong/wrong-secret"}, "does not accept these credentials"),
        ({"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nobodys-secret"}, "does not accept these"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "unreachable"),
    ],
)
def test_a_run_that_is_refused_says_why_without_its_secret(
    s3: S3Server,
    changed: dict[str, str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    variables = s3.variables() | changed
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert encode.main([f"{s3.bucket}/photos", str(tmp_path / "a")]) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert variables["AWS_SECRET_ACCESS_KEY"] not in printed.err + printed.out
