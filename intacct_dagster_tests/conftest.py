"""Set up what holds for every test: retries do not wait, and random examples repeat.

New examples find new faults, but not in the run that has to say whether a change is sound:
`make soak` draws new ones with `--hypothesis-profile=new`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import stamina
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import settings

from intacct_dagster_tests.state.state_stores import STORES, empty_store
from intacct_sandbox import RunningSandbox, serve

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", deadline=None)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=5):
        yield


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    """Yield a sandbox that the tests of a module share."""
    with serve() as running:
        yield running


@pytest.fixture(params=STORES)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of an empty state store, of each kind there is."""
    with empty_store(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a PEM file with a key and a certificate of 127.0.0.1 that is its own authority."""
    file = tmp_path / "server.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(pem)
    )
    return file


@pytest.fixture(scope="session")
def read_company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the golden company as it was read: copy it before writing to it."""
    from intacct_dagster_tests.golden_company import make_read_company

    return make_read_company(tmp_path_factory.mktemp("read_company"))


@pytest.fixture(scope="session")
def posted_company(read_company: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same after posting: copy it before writing to it."""
    from intacct_dagster_tests.golden_company import make_posted_company

    return make_posted_company(read_company, tmp_path_factory.mktemp("posted_company"))
