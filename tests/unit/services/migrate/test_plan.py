"""What a run would do follows from the files and the list alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.migrate.errors import Denied, UnknownVersion
from services.migrate.files import MigrationFile, amending
from services.migrate.history import AppliedMigration, BackupUse
from services.migrate.plan import survey, whole
from services.migrate.request import Request, check_permission

Known = dict[str, AppliedMigration]


def _file(number: int, text: str = "SELECT 1;", *, contract: bool = False, amends: int | None = None) -> MigrationFile:
    header = "-- migrate: contract\n" if contract else ""
    header += f"-- Amends: {_version(amends)}_x\n" if amends is not None else ""
    return MigrationFile(_version(number), f"file_{number}", header + text)


def _version(number: int) -> str:
    return f"{20260101000000 + number}"


def _applied(*files: MigrationFile, plan: str | None = None) -> Known:
    return {file.version: AppliedMigration(file.version, file.name, None, file.checksum, plan) for file in files}


def _numbers(files: tuple[MigrationFile, ...]) -> list[int]:
    return [int(file.version) - 20260101000000 for file in files]


_FILES = st.lists(st.tuples(st.booleans(), st.none() | st.integers(0, 7)), min_size=1, max_size=8).map(
    lambda rows: [
        _file(number, contract=contract, amends=amends if amends is not None and amends < number else None)
        for number, (contract, amends) in enumerate(rows)
    ]
)


def test_expand_goes_first_and_contract_waits() -> None:
    """A later file of phase expand does not wait for an earlier one of phase contract."""
    files = [_file(1), _file(2, contract=True), _file(3)]
    found = survey(files, {})

    assert _numbers(found.expand.files) == [1, 3]
    assert _numbers(found.contract.files) == [2]
    assert found.target == _version(3)
    assert _numbers(whole(files, {}).files) == [1, 2, 3]


def test_what_amends_a_contract_file_follows_it() -> None:
    """It is applied with phase expand, and once more when the file that it amends comes after it."""
    files = [_file(1), _file(2, contract=True), _file(3, amends=2)]

    assert _numbers(survey(files, {}).expand.files) == [1, 3]
    assert survey(files, _applied(files[0], files[2])).expand.files == ()
    assert _numbers(survey(files, _applied(files[0], files[2])).contract.files) == [2, 3]


def test_a_contract_file_waits_again_when_what_it_amends_is_made_anew() -> None:
    """As after a rollback: what it had removed is back, and old code may run."""
    files = [_file(1), _file(2, contract=True, amends=1), _file(3, amends=2)]
    found = survey(files, _applied(files[1], files[2]))

    assert _numbers(found.expand.files) == [1, 3]
    assert _numbers(found.contract.files) == [2, 3]


def _after(files: list[MigrationFile], known: Known, file: MigrationFile, plan: str | None = None) -> Known:
    """The list once `file` is applied."""
    outdated = amending(files).get(file.version, set())
    marked = {
        version: replace(line, is_due_again=True) if version in outdated else line for version, line in known.items()
    }
    return marked | _applied(file, plan=plan)


@given(_FILES, st.sets(st.integers(0, 7)), st.integers(0, 5))
def test_it_comes_to_an_end_wherever_runs_break_off(files: list[MigrationFile], done: set[int], stop: int) -> None:
    """Expand, then contract, and again where one broke off: everything is applied, in order, and stays so."""
    known = _applied(*(file for number, file in enumerate(files) if number in done))
    for limit in (stop, 99, stop, 99, 99, 99):
        found = survey(files, known)
        plan = found.expand if found.expand.files else found.contract
        assert list(plan.files) == sorted(plan.files, key=lambda file: file.version)
        for file in plan.files[:limit]:
            known = _after(files, known, file)
    final = survey(files, known)

    assert (final.expand.files, final.contract.files) == ((), ())
    assert known.keys() == {file.version for file in files}
    assert whole(files, known).files == ()


@given(_FILES, st.sets(st.integers(0, 7)), st.data())
def test_what_amends_comes_after_what_it_amends(
    files: list[MigrationFile], done: set[int], data: st.DataObject
) -> None:
    """Whichever file is applied, those that amend it are, after it, or are still to come."""
    known = _applied(*(file for number, file in enumerate(files) if number in done))
    order = list[str]()
    for _ in range(6):
        found = survey(files, known)
        plan = found.expand if found.expand.files else found.contract
        for file in plan.files[: data.draw(st.integers(0, len(plan.files)))]:
            known = _after(files, known, file)
            order.append(file.version)
    left = survey(files, known)
    waiting = {file.version for file in (*left.expand.files, *left.contract.files)}
    for file in files:
        for version in file.amends & set(order):
            last = max(place for place, each in enumerate(order) if each == version)
            assert file.version in order[last:] or file.version in waiting


@given(_FILES, st.sets(st.integers(0, 7)), st.data())
def test_a_plan_that_broke_off_is_still_that_plan(
    files: list[MigrationFile], done: set[int], data: st.DataObject
) -> None:
    """Whoever approved it need not approve the rest; any other plan is another one."""
    known = _applied(*(file for number, file in enumerate(files) if number in done))
    plan = survey(files, known).expand
    if plan.hash is None:
        return
    for file in plan.files[: data.draw(st.integers(0, len(plan.files)))]:
        known = _after(files, known, file, plan.hash)
    left = survey(files, known).expand
    other = survey([*files, _file(9)], known).expand

    assert left.continues(plan.hash, known) or not left.files
    assert not other.continues(plan.hash, known)


def test_a_changed_file_is_another_plan() -> None:
    """And so are another target and another phase."""
    files = [_file(1), _file(2)]
    hashes = {
        survey(files, {}).expand.hash,
        survey([_file(1), _file(2, "SELECT 2;")], {}).expand.hash,
        survey(files, {}, _version(1)).expand.hash,
        survey([_file(1, contract=True), _file(2, contract=True)], {}).contract.hash,
    }

    assert len(hashes) == 4
    assert all(each is not None and len(each) == 16 for each in hashes)
    assert survey(files, _applied(*files)).expand.hash is None


def test_a_database_that_is_newer_is_ahead() -> None:
    """When there is nothing to do, and what it has that the files have not is newer than they."""
    files = [_file(1), _file(2)]

    assert survey(files, _applied(*files, _file(3))).is_ahead
    assert survey(files, _applied(*files, _file(3)), _version(2)).is_ahead
    assert not survey(files, _applied(files[0], _file(3))).is_ahead
    assert not survey(files, _applied(_file(0), *files)).is_ahead
    assert not survey(files, _applied(*files)).is_ahead


def test_a_target_is_not_passed() -> None:
    """Of neither phase."""
    files = [_file(1), _file(2, contract=True), _file(3), _file(4, contract=True)]
    found = survey(files, {}, _version(3))

    assert (_numbers(found.expand.files), _numbers(found.contract.files)) == ([1, 3], [2])
    assert _numbers(whole(files, {}, _version(2)).files) == [1, 2]


def test_there_is_no_way_back_by_target() -> None:
    """The error names the scripts; a target that the files do not have is said to be unknown."""
    files = [_file(1), _file(2)]
    with pytest.raises(Denied, match="rollback/"):
        survey(files, _applied(*files), _version(1))
    with pytest.raises(UnknownVersion, match="--status"):
        survey(files, {}, _version(7))


def _check(files: list[MigrationFile], known: Known, request: Request) -> None:
    found = survey(files, known)
    check_permission(found.plan("contract" if request.phase == "contract" else "expand"), found, known, (), request)


def test_destructive_statements_need_leave_and_a_backup() -> None:
    """First the one, then the other; both errors say what to write."""
    files = [_file(1, "DROP TABLE courses;")]
    with pytest.raises(Denied, match=r"file_1.sql, line 1: DROP TABLE courses.*--allow-destructive"):
        _check(files, {}, Request())
    with pytest.raises(Denied, match="--backup ID"):
        _check(files, {}, Request(allow_destructive=True, backup=" "))
    _check(files, {}, Request(allow_destructive=True, backup="b-1"))


def test_contract_needs_a_backup_and_nothing_before_it() -> None:
    """Also when nothing destructive is seen in it: a DO block may hide it."""
    files = [_file(1), _file(2, contract=True)]
    with pytest.raises(Denied, match="phase expand come first"):
        _check(files, {}, Request(phase="contract", backup="b-1"))
    with pytest.raises(Denied, match="--backup ID"):
        _check(files, _applied(files[0]), Request(phase="contract"))
    _check(files, _applied(files[0]), Request(phase="contract", backup="b-1"))


def test_another_plan_than_the_expected_is_refused() -> None:
    """It says which one it is now; with nothing to do there is nothing to refuse."""
    files = [_file(1)]
    with pytest.raises(Denied, match=str(survey(files, {}).expand.hash)):
        _check(files, {}, Request(expect_plan="0" * 16))
    _check(files, {}, Request(expect_plan=survey(files, {}).expand.hash))
    _check(files, _applied(*files), Request(expect_plan="0" * 16))


_DROPS = [_file(number, f"DROP TABLE t{number};") for number in (1, 2, 3)]


def _lines(files: list[MigrationFile], plan: str | None) -> Known:
    return {version: replace(line, backup_id="dump-1") for version, line in _applied(*files, plan=plan).items()}


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_a_backup_is_spent_whichever_lines_are_gone(kept: int) -> None:
    """A rollback script takes them out of the list; what they stood for was applied with that backup all the same."""
    plan = survey(_DROPS, {}).expand
    uses = [BackupUse("dump-1", str(plan.hash), _version(3))]
    known = _lines(_DROPS[:kept], plan.hash)

    assert not survey([*_DROPS, _file(4)], known).expand.may_use("dump-1", known, uses)
    assert survey([*_DROPS, _file(4)], known).expand.may_use("dump-2", known, uses)


@pytest.mark.parametrize("done", [0, 1, 2])
def test_a_plan_that_broke_off_goes_on_with_its_backup(done: int) -> None:
    """Also when it broke off within its first file, so that no line tells of it. No other plan does."""
    plan = survey(_DROPS, {}).expand
    known = _lines(_DROPS[:done], plan.hash)
    uses = [BackupUse("dump-1", str(plan.hash), _version(done) if done else None)]

    assert survey(_DROPS, known).expand.may_use("dump-1", known, uses)
    assert not survey([*_DROPS, _file(4)], known).expand.may_use("dump-1", known, uses)
    if done:
        assert not survey(_DROPS, {}).expand.may_use("dump-1", {}, uses)  # its lines were lost


def test_a_line_that_was_written_over_spends_its_backup_all_the_same() -> None:
    """A file that is applied once more, by a plan that loses nothing, has that plan's line."""
    plan = survey(_DROPS[:1], {}).expand
    known = _applied(_DROPS[0], plan="another")
    uses = [BackupUse("dump-1", str(plan.hash), _version(1))]

    assert not survey(_DROPS, known).expand.may_use("dump-1", known, uses)
