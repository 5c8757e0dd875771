"""The key of the stored sessions in a file: beside the state store, not in git, and private."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from cryptography.fernet import Fernet

from intacct_dagster.cli.app import main
from intacct_dagster.company import key_folder, open_company
from intacct_dagster.state import StateError, keep_token_key, token_key
from intacct_dagster.state.store import open_state
from intacct_dagster_tests.code_location import PROJECT
from intacct_dagster_tests.consent import write_project
from intacct_sandbox import serve

GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.com")


@pytest.fixture(autouse=True)
def _without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INTACCT_TOKEN_KEY", raising=False)
    monkeypatch.delenv("INTACCT_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git work tree whose `data` has a key that git does not track."""
    git(tmp_path, "init", "--quiet")
    token_key(tmp_path / "data")
    return tmp_path


def git(folder: Path, *words: str) -> None:
    subprocess.run([*GIT, *words], cwd=folder, check=True, capture_output=True)


def type_(*words: str) -> Result:
    result = CliRunner().invoke(main, words, env={"COLUMNS": "400"})
    assert isinstance(result.exception, SystemExit | None)
    return result


def written_to(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("sqlite:////srv/books/state.db", Path("/srv/books")),
        ("sqlite:////srv/books/state.db?timeout=5", Path("/srv/books")),
        ("sqlite:///file:/srv/books/state.db?uri=true", Path("/srv/books")),
        ("postgresql+psycopg://user:password@db.example/intacct", None),
        ("postgresql://db.example/intacct", None),
        ("mysql+pymysql://db.example/a/b", None),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:///file::memory:?cache=shared&uri=true", None),
        ("sqlite:///file:books?mode=memory&uri=true", None),
    ],
)
def test_the_folder_of_the_key_is_that_of_the_state_store_or_none(
    url: str, folder: Path | None
) -> None:
    assert key_folder(sa.make_url(url)) == folder


def test_a_relative_state_store_has_its_key_beside_it(tmp_path: Path) -> None:
    assert key_folder(sa.make_url("sqlite:///state.db")) == tmp_path
    assert key_folder(sa.make_url("sqlite:///books/state.db")) == tmp_path / "books"


def test_a_state_store_that_is_no_file_gets_no_key_in_the_working_directory(
    tmp_path: Path,
) -> None:
    engine = open_state("sqlite://")
    with pytest.raises(StateError) as refused:
        open_company(
            engine,
            "demo",
            "https://api.intacct.test/ia/api/v1",
            {},
            grant="client_credentials",
            client_id="id",
            client_secret="secret",
        )
    assert "Set INTACCT_TOKEN_KEY" in str(refused.value)
    assert "session_key: keyring" in str(refused.value)
    assert written_to(tmp_path) == []


def test_a_state_store_that_is_no_file_takes_its_key_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Fernet.generate_key()
    monkeypatch.setenv("INTACCT_TOKEN_KEY", key.decode())
    assert token_key(None) == key
    assert written_to(tmp_path) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
@pytest.mark.usefixtures("ring")
def test_a_key_file_that_others_may_read_is_refused_until_its_mode_is_right(
    tmp_path: Path, mode: int
) -> None:
    folder = tmp_path / "with space"
    key = token_key(folder)
    file = folder / "token.key"
    file.chmod(mode)
    for attempt in (lambda: token_key(folder), lambda: keep_token_key(folder, "demo")):
        with pytest.raises(StateError) as refused:
            attempt()
        assert f"mode {mode:04o}" in str(refused.value)
        assert key.decode() not in str(refused.value)
    command = next(each for each in str(refused.value).split("`") if each.startswith("chmod"))
    assert command == f"chmod 600 '{file}'"
    subprocess.run(shlex.split(command), check=True)
    assert token_key(folder) == key


def test_a_key_file_that_git_tracks_is_refused_until_it_is_taken_out(repository: Path) -> None:
    folder = repository / "data"
    key = token_key(folder)
    git(repository, "add", "--force", "data/token.key")
    for _ in ("added", "committed"):
        with pytest.raises(StateError) as refused:
            token_key(folder)
        assert "git tracks" in str(refused.value)
        assert "intacct-dagster sessions key --new" in str(refused.value)
        assert key.decode() not in str(refused.value)
        git(repository, "commit", "--quiet", "--allow-empty", "--message", "a key")
    command = next(each for each in str(refused.value).split("`") if each.startswith("git -C"))
    subprocess.run(shlex.split(command), check=True, capture_output=True)
    assert token_key(folder) == key


def test_git_is_asked_about_the_folder_of_the_key_whatever_the_environment_says(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(repository, "add", "--force", "data/token.key")
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.chdir(other)
    with pytest.raises(StateError, match="git tracks"):
        token_key(repository / "data")


def test_git_is_asked_in_a_work_tree_of_another_user(repository: Path) -> None:
    git(repository, "add", "--force", "data/token.key")
    if os.geteuid() == 0:  # nobody else may give files away
        os.chown(repository, 12345, 12345)
        os.chown(repository / ".git", 12345, 12345)
    with pytest.raises(StateError, match="git tracks"):
        token_key(repository / "data")


def test_without_git_or_where_it_hangs_the_key_is_used(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = token_key(repository / "data")
    monkeypatch.setattr(shutil, "which", lambda *_: None)
    assert token_key(repository / "data") == key
    monkeypatch.undo()

    def hang(*_: object, timeout: float, **__: object) -> None:
        assert timeout <= 10
        raise subprocess.TimeoutExpired("git", timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    assert token_key(repository / "data") == key


def test_a_new_key_takes_the_place_of_one_that_leaked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve() as served:
        write_project(tmp_path, served.base_url, grant="client_credentials", port=1)
        assert type_("sessions", "check", "E110").exit_code == 0
        file = tmp_path / "data/token.key"
        leaked = file.read_text()
        file.chmod(0o644)
        refused = type_("sessions", "check", "E110")
        assert refused.exit_code == 1
        assert "chmod 600" in refused.output

        made = type_("sessions", "key", "--new")
        assert made.exit_code == 0, made.output
        assert "1 stored session" in made.output
        assert file.read_text() != leaked
        assert file.read_text() not in made.output
        assert file.stat().st_mode & 0o777 == 0o600
        assert type_("sessions", "check", "E110").exit_code == 0
        assert written_to(tmp_path / "data") == ["state.db", "state.db.locks", "token.key"]

        git(tmp_path, "init", "--quiet")
        git(tmp_path, "add", "--force", "data/token.key")
        before = file.read_text()
        tracked = type_("sessions", "key", "--new")
        assert tracked.exit_code == 1
        assert "rm --cached" in tracked.output
        assert file.read_text() == before

        monkeypatch.setenv("INTACCT_TOKEN_KEY", Fernet.generate_key().decode())
        given = type_("sessions", "key", "--new")
        assert given.exit_code == 0, given.output
        assert "INTACCT_TOKEN_KEY is set: its key is in use" in given.output
        assert "1 stored session of the old key forgotten" in given.output
        assert type_("sessions", "check", "E110").exit_code == 0
        assert "0 stored sessions" in type_("sessions", "key", "--new").output


def test_this_project_tracks_no_key_and_ignores_what_runs_leave(tmp_path: Path) -> None:
    def names(folder: Path, *words: str) -> list[str]:
        done = subprocess.run(
            ["git", *words], cwd=folder, check=False, capture_output=True, text=True
        )
        return done.stdout.splitlines()

    tracked = names(PROJECT, "ls-files")  # nothing where the project is no repository
    assert [name for name in tracked if name.endswith((".key", ".db"))] == []
    left = ["token.key", "deploy/token.key", "state.db", "books/state.db", "data/warehouse.duckdb"]
    git(tmp_path, "init", "--quiet")
    shutil.copy(PROJECT / ".gitignore", tmp_path)
    assert names(tmp_path, "check-ignore", *left) == left
