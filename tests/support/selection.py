"""Which tests run, and in which order: hooks for conftest.py."""

import gc

import pytest

LONGEST = (
    *("test_processes.py", "test_pool.py", "test_deployment.py", "test_migrations.py", "test_app.py"),
    *("test_database_server.py", "test_postgresql.py", "test_delivery.py", "test_client.py", "test_stream.py"),
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect slow tests by default, and start the longest modules first, so that no worker gets them last."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
    if not config.getoption("-m"):
        config.hook.pytest_deselected(items=[item for item in items if is_slow(item)])
        items[:] = [item for item in items if not is_slow(item)]


def is_slow(item: pytest.Item) -> bool:
    """Whether a test is marked as slow on its engine."""
    engine = item.callspec.params.get("engine") if hasattr(item, "callspec") else None
    return any(not marker.args or engine in marker.args for marker in item.iter_markers("slow"))


def pytest_collection_finish() -> None:
    """Exempt what was imported and collected from garbage collection, because it stays."""
    gc.collect()
    gc.freeze()
