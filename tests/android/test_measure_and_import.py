"""What `measure` writes is a session that the import takes, for every tool."""

import pytest
from test_measure import FORMATS, Desk

from autoprune.phone.exported import read_models
from autoprune.phone.session import read_session


@pytest.mark.parametrize("tool", FORMATS)
def test_a_measured_session_is_valid(tmp_path, tool):
    desk = Desk(tmp_path, tool)
    done = desk.measure("--threads", "1", "4")
    assert done.returncode == 0, done.stderr
    known = read_models(tmp_path.glob("*/manifest-*.json"))
    session = read_session(desk.session, known)
    assert len(session.rows) == 16
    assert all(model is not None for model in session.models)
    assert {row["tool"] for row in session.rows} == {tool}
    assert (session.failed, session.warnings) == ([], [])
