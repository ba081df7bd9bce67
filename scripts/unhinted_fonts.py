"""Makes the fonts of the summary picture from Lato: without hinting, under a name of their own.

    python -m scripts.unhinted_fonts FOLDER

FOLDER has Lato-Regular.ttf and Lato-Bold.ttf of version 2.007, from https://www.latofonts.com or Debian's package
fonts-lato. The same files give the same bytes.
"""

import sys
from io import BytesIO
from pathlib import Path
from typing import Final

from fontTools.ttLib import TTFont, newTable
from fontTools.ttLib.tables.ttProgram import Program

TARGET: Final = Path(__file__).resolve().parents[1] / "app/countries/fonts"
STYLES: Final = ("Regular", "Bold")
FAMILY: Final = "Summary Sans"
"""Lato's licence reserves its name for fonts that nobody changed."""
_HINTING: Final = ("fpgm", "prep", "cvt ", "hdmx", "VDMX", "LTSH")
_SMOOTH: Final = ("PUSHW[]", "511", "SCANCTRL[]", "PUSHB[]", "4", "SCANTYPE[]", "PUSHB[]", "0", "POP[]")
"""Smooth letters at every size. The last three do nothing: if the program has at most 7 bytes, FreeType hints the font
by itself, which takes longer and changes the widths of letters."""
_NAMES: Final = {
    1: FAMILY,
    3: "2.007;{postscript}",
    4: f"{FAMILY} {{style}}",
    5: "Version 2.007; without hinting",
    6: "{postscript}",
    10: "Lato 2.007 by Lukasz Dziedzic without its hinting instructions, and renamed as its licence asks.",
}
"""The entries of the name table that say what the font is; copyright, designer and licence stay."""
_TRADEMARK: Final = 7


def unhinted(source: bytes, style: str) -> bytes:
    """Remove the programs that FreeType would interpret for each letter, and rename the font."""
    font = TTFont(BytesIO(source), recalcTimestamp=False)
    for table in _HINTING:
        if table in font:
            del font[table]
    for glyph in font.getGlyphOrder():
        font["glyf"][glyph].removeHinting()
    font["maxp"].maxSizeOfInstructions = 0
    font["prep"] = newTable("prep")
    font["prep"].program = Program()
    font["prep"].program.fromAssembly(list(_SMOOTH))
    font["name"].removeNames(nameID=_TRADEMARK)
    for record in font["name"].names:
        if record.nameID in _NAMES:
            record.string = _NAMES[record.nameID].format(style=style, postscript=file_name(style).stem)
    target = BytesIO()
    font.save(target)
    return target.getvalue()


def file_name(style: str) -> Path:
    """The file of one style, named by the font's PostScript name."""
    return Path(f"{FAMILY.replace(' ', '')}-{style}.ttf")


if __name__ == "__main__":
    for each in STYLES:
        (TARGET / file_name(each)).write_bytes(unhinted(Path(sys.argv[1], f"Lato-{each}.ttf").read_bytes(), each))
