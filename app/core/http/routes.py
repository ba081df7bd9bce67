"""The route table: what the layers need to know about each route before it runs."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Final, NamedTuple, get_args

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from starlette._utils import get_route_path
from starlette.routing import Match, Mount
from starlette.types import Scope

from app.core.http.access import Access, Rule
from app.core.telemetry.counts import OTHER

NDJSON: Final = "application/x-ndjson"
LONGEST_PATH: Final = 2_000
"""Characters; a longer path is not found. The longest parameter is the name of a country, which has 100."""
_MATCH: Final = "route match"
_PARAMETER: Final = re.compile(r"\\\{(\w+)\\\}")
"""Of a path, after ``re.escape()``."""


@dataclass(frozen=True, slots=True)
class RouteInfo:
    """One method of one path."""

    access: Access
    """Who may call it."""
    parameters: tuple[str, ...] | None = None
    """Names of its query parameters; None where they are not checked, as for files."""
    media_types: tuple[str, ...] = ()
    """What its body may be; empty where it reads none."""
    takes_large_body: bool = False
    """Whether its body may have ``MAX_BODY_BYTES`` if the caller is authenticated, and not only 16 KiB."""
    rate_limit: str | None = None
    """Name of the limit under which its requests count."""
    formats: frozenset[str] = frozenset()
    """Values of the parameter ``format``; empty where there is none."""
    is_cacheable: bool = False
    """Whether it may answer 304."""
    is_about_health: bool = False
    """Whether it is a health check or the metrics, which are answered under any load."""

    @property
    def takes_stream(self) -> bool:
        """Whether its body is any number of lines."""
        return NDJSON in self.media_types


class RouteMatch(NamedTuple):
    """The path of a request, as the table knows it."""

    template: str
    """The path with names for its parameters."""
    routes: Mapping[str, RouteInfo]
    """By method."""
    parameters: Mapping[str, str]
    """Of the path."""
    label: str
    """For metrics: the template, or ``other`` where the document does not list the path."""


@dataclass
class _Path:
    template: str
    segments: list[re.Pattern[str]]
    is_open: bool
    """Whether more segments may follow, as below a mount."""
    label: str
    routes: dict[str, RouteInfo] = field(default_factory=dict)

    def match(self, segments: Sequence[str]) -> RouteMatch | None:
        count = len(self.segments)
        if not (len(segments) == count or (self.is_open and len(segments) > count)):
            return None
        parameters: dict[str, str] = {}
        for pattern, segment in zip(self.segments, segments, strict=False):
            found = pattern.fullmatch(segment)
            if found is None:
                return None
            parameters |= found.groupdict()
        return RouteMatch(self.template, self.routes, parameters, self.label)


class SegmentRoute(APIRoute):
    """A route that may have several parameters in one segment, for routers without a prefix.

    FastAPI's pattern of /rates/{from}..{to} takes time quadratic in the number of dots if another segment follows. So
    segments are counted first.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the path, in linear time."""
        if get_route_path(scope).count("/") != self.path.count("/"):
            return Match.NONE, {}
        return super().matches(scope)


class RouteTable:
    """Every route of an application, in the document or not; built on first use, when all routes are registered."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def find(self, scope: Scope) -> RouteMatch | None:
        """Look up the path of a request; None where there is no such route.

        Several layers ask; the answer stays with the request, also in the copies that layers make of its scope.
        """
        if _MATCH not in scope:
            scope[_MATCH] = self._match(_below_prefix(scope))
        match: RouteMatch | None = scope[_MATCH]
        return match

    def find_route(self, scope: Scope) -> RouteInfo | None:
        """Look up the route of a request; None where there is no such path, or not with this method."""
        match = self.find(scope)
        return match.routes.get(scope["method"]) if match else None

    def label(self, scope: Scope) -> str:
        """Name the route of a request for metrics, also where its path has a trailing slash."""
        match = self.find(scope)
        if match is None and scope["path"].endswith("/"):
            match = self._match(_below_prefix(scope)[:-1])
        return OTHER if match is None else match.label

    def describe(self, template: str, method: str) -> RouteInfo:
        """What the table knows about an operation of the OpenAPI document."""
        return self._paths[template].routes[method.upper()]

    def _match(self, path: str) -> RouteMatch | None:
        # By segments, which takes time linear in the path: a regular expression for the whole of
        # /rates/{from}..{to} tries every pair of dots again for each later one.
        if len(path) > LONGEST_PATH:
            return None
        segments = path.split("/")
        return next((match for known in self._paths.values() if (match := known.match(segments))), None)

    @cached_property
    def _paths(self) -> dict[str, _Path]:
        paths: dict[str, _Path] = {}
        for route in iter_route_contexts(self._app.routes):
            template, original = str(route.path), route.original_route
            if ":" in template:  # {path:path} has several segments, which this table does not match
                raise ValueError(f"{template}: parameters with converters are not supported")
            # Within one segment a parameter may be anything, so that no pattern needs to go back more than once.
            patterns = (_PARAMETER.sub(r"(?P<\1>.+)", re.escape(segment)) for segment in template.split("/"))
            segments = [re.compile(pattern, re.DOTALL) for pattern in patterns]
            label = template if isinstance(original, APIRoute) and route.include_in_schema else OTHER
            path = paths.setdefault(template, _Path(template, segments, isinstance(original, Mount), label))
            # Starlette adds HEAD to its own routes; here the layer in front turns it into GET.
            methods = (route.methods or {"GET"}) - {"HEAD"}
            path.routes |= dict.fromkeys(methods, _describe(route, methods))
        # Fixed paths first: /countries/image is not the name of a country.
        return dict(sorted(paths.items(), key=lambda item: "{" in item[0]))


def _describe(route: RouteContext, methods: Set[str]) -> RouteInfo:
    if not isinstance(route.original_route, APIRoute):
        return RouteInfo(Access(Rule.EVERYONE))
    extra = route.openapi_extra or {}
    fields = dict(_query_fields(route.dependant))
    is_cacheable = 304 in route.responses
    is_about_health = "service" in route.tags and not is_cacheable
    is_counted_read = "GET" in methods and not is_about_health
    body = [route.body_field.field_info.media_type] if route.body_field else []
    return RouteInfo(
        access=Access.read(extra, methods),
        parameters=tuple(fields),
        media_types=(*body, *extra.get("requestBody", {}).get("content", {})),
        takes_large_body=extra.get("x-large-body", False),
        rate_limit=extra.get("x-rate-limit", "reads" if is_counted_read else None),
        formats=_choices(fields["format"]) if "format" in fields else frozenset(),
        is_cacheable=is_cacheable,
        is_about_health=is_about_health,
    )


def _query_fields(dependant: Dependant) -> Iterator[tuple[str, FieldInfo]]:
    """Query parameters of a route and its dependencies, those of a model one by one."""
    for parameter in dependant.query_params:
        annotation = parameter.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from ((info.alias or name, info) for name, info in annotation.model_fields.items())
        else:
            yield parameter.alias, parameter.field_info
    for dependency in dependant.dependencies:
        yield from _query_fields(dependency)


def _choices(info: FieldInfo) -> frozenset[str]:
    """The values of an enumeration, which may be optional."""
    kinds = (info.annotation, *get_args(info.annotation))
    return frozenset(value for kind in kinds if isinstance(kind, type) and issubclass(kind, StrEnum) for value in kind)


def _below_prefix(scope: Scope) -> str:
    """The path below the prefix under which a proxy or a server offers the application."""
    path, prefix = str(scope["path"]), scope.get("root_path", "")
    return path.removeprefix(prefix) if path.startswith(f"{prefix}/") else path
