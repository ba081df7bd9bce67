"""What the checks share: the servers and fixtures of the tests, and the rows of a table."""

import pytest

from checks.support.processes import new_process, process_settings  # noqa: F401
from checks.support.rows import (  # noqa: F401  # fixtures and hooks
    figure,
    is_full,
    pytest_addoption,
    pytest_runtest_makereport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)
from tests.conftest import (  # noqa: F401  # fixtures and hooks
    _upstream,
    bare_environment,
    client,
    database_url,
    http,
    idle_engines,
    interruptible_children,
    loaded,
    mariadb,
    mysql_url,
    pytest_configure,
    pytest_generate_tests,
    pytest_report_header,
    service,
    settings,
    sqlite_file,
    sqlite_template,
    upstream,
)
from tests.support.selection import pytest_collection_modifyitems  # noqa: F401


def pytest_itemcollected(item: pytest.Item) -> None:
    """All checks are slow, and may take minutes."""
    item.add_marker(pytest.mark.slow)
    if item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(300))
