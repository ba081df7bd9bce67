"""DATABASE_HOSTNAME and its like, in place of DATABASE_URL."""

import pytest

from app.core.config.settings import load_settings

HUSH = "hush-hush"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


SERVER = {"DATABASE_HOSTNAME": "db", "DATABASE_USERNAME": "u@h", "DATABASE_NAME": "my db"}
SECRET = {"DATABASE_PASSWORD": f"p@:/%+ {HUSH}"}
WRITTEN = f"u%40h:p%40%3A%2F%25+ {HUSH}"
JOINED = [
    (SERVER, "mysql://u%40h@db/my db"),
    ({**SERVER, **SECRET}, f"mysql://{WRITTEN}@db/my db"),
    ({**SERVER, **SECRET, "DATABASE_PORT": "3307"}, f"mysql://{WRITTEN}@db:3307/my db"),
    ({**SERVER, **SECRET, "DATABASE_PORT": "5432"}, f"postgresql://{WRITTEN}@db:5432/my db"),
    ({**SERVER, **SECRET, "DATABASE_ENGINE": "mariadb"}, f"mariadb://{WRITTEN}@db/my db"),
    ({**SERVER, **SECRET, "DATABASE_ENGINE": "postgresql"}, f"postgresql://{WRITTEN}@db/my db"),
    ({**SERVER, "DATABASE_HOSTNAME": "::1"}, "mysql://u%40h@[::1]/my db"),
    ({"DATABASE_ENGINE": "sqlite", "DATABASE_NAME": "/var/lib/my data.db"}, "sqlite:////var/lib/my data.db"),
    # Both, as some providers set them.
    ({**SERVER, **SECRET, "DATABASE_URL": f"mysql://{WRITTEN}@db:3306/my db"}, f"mysql://{WRITTEN}@db:3306/my db"),
    (
        {"DATABASE_URL": "postgres://u@db/n?sslmode=require", "DATABASE_PORT": "5432"},
        "postgres://u@db/n?sslmode=require",
    ),
    ({"DATABASE_URL": "mysql://u@db/n", "DATABASE_ENGINE": "mariadb"}, "mysql://u@db/n"),
]
CONTRADICTING = [
    ({"DATABASE_NAME": "n"}, "DATABASE_HOSTNAME: is required with DATABASE_NAME"),
    ({"DATABASE_HOSTNAME": "db", "DATABASE_NAME": "n"}, "DATABASE_USERNAME: is required with DATABASE_HOSTNAME"),
    ({"DATABASE_HOSTNAME": "db", "DATABASE_USERNAME": "u"}, "DATABASE_NAME: is required with DATABASE_HOSTNAME"),
    (SECRET, "DATABASE_HOSTNAME: is required with DATABASE_PASSWORD"),
    ({"DATABASE_ENGINE": "sqlite"}, "DATABASE_NAME: is required with DATABASE_ENGINE"),
    (
        {"DATABASE_ENGINE": "sqlite", "DATABASE_NAME": "x.db", "DATABASE_HOSTNAME": "db"},
        "DATABASE_HOSTNAME: has no meaning with DATABASE_ENGINE=sqlite; remove it",
    ),
    *(
        (
            {"DATABASE_URL": f"mysql://u:{HUSH}@db:3307/n", name: value},
            f"{name}: differs from DATABASE_URL; remove one of them",
        )
        for name, value in {
            "DATABASE_ENGINE": "postgresql",
            "DATABASE_HOSTNAME": "db2",
            "DATABASE_PORT": "3306",
            "DATABASE_USERNAME": "v",
            "DATABASE_PASSWORD": f"{HUSH}2",
            "DATABASE_NAME": "m",
        }.items()
    ),
    (
        {"DATABASE_URL": "sqlite:///data/countries.db", **SERVER},
        "DATABASE_HOSTNAME: differs from DATABASE_URL; remove one of them",
    ),
]


@pytest.mark.parametrize(("variables", "url"), JOINED)
def test_separate_variables_are_joined_to_the_url_that_they_mean(monkeypatch, variables, url):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    settings = load_settings()

    assert settings.database_url.get_secret_value() == url
    assert HUSH not in str(settings.masked())
    assert variables.get("DATABASE_PASSWORD") in (None, *settings.secrets)


@pytest.mark.parametrize(("variables", "message"), CONTRADICTING)
def test_separate_variables_that_are_incomplete_or_contradict_are_named(monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as stop:
        load_settings()

    assert stop.value.code == f"Wrong setting: {message}"
