"""The full list as FastAPI's and SQLModel's tutorials write it: model objects, and a response model."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import Depends, FastAPI
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config.settings import load_settings
from app.core.db.database import create_engine
from app.countries.models import Country
from app.countries.schemas import CountryPublic

engine = create_engine(load_settings())
app = FastAPI()


async def get_session() -> AsyncIterator[AsyncSession]:
    """A session for one request, with the service's engine settings."""
    async with AsyncSession(engine) as session:
        yield session


@app.get("/countries", response_model=list[CountryPublic])
async def list_countries(session: Annotated[AsyncSession, Depends(get_session)]) -> Sequence[Country]:
    """All countries by name."""
    return (await session.exec(select(Country).order_by(col(Country.name_key)))).all()
