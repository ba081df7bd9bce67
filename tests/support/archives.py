"""Archives with files of one content."""

from io import BytesIO
from zipfile import ZipFile


def zipped(content: str, *names: str) -> bytes:
    """A ZIP archive, not compressed, with this content under each name."""
    archive = BytesIO()
    with ZipFile(archive, "w") as files:
        for name in names:
            files.writestr(name, content)
    return archive.getvalue()
