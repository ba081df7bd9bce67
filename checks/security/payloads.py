"""Payloads of injection attacks."""

from typing import Final

FORGED: Final = "2001-01-01 00:00:00.000 | INFO    | - | [AUDIT] DELETE_USER | User 1 deleted"
SQL: Final = (
    "' OR '1'='1",
    "' OR 1=1 -- ",
    '" OR ""="',
    "'; DROP TABLE country; --",
    "1; DELETE FROM sms_transfers",
    "') UNION SELECT id, password_hash FROM user -- ",
    "' AND SLEEP(20) -- ",
    "' AND (SELECT COUNT(*) FROM sqlite_master) > 0 -- ",
    "x' || (SELECT group_concat(password_hash) FROM user) || '",
    "%",
    "_______",
    r"\%\_",
    "\\",
    r"\' OR 1=1 #",
    "¿' OR 1=1 --",
    "0x27 OR 1=1",
    "NULL",
    ":name :1 %s %(name)s ? ${x} {0}",
)
LINES: Final = (
    f"x\n{FORGED}",
    f"x\r\n{FORGED}",
    f"x\r{FORGED}",
    f"x\u2028{FORGED}",
    f"x\u0085{FORGED}",
    f"x\x0b{FORGED}",
    f"x\x1c{FORGED}",
    f'x"}}\n{{"time": "2001-01-01", "level": "INFO", "message": "{FORGED}"}}',
    "x\x1b[2J\x1b[1;31mowned",
    "x\x08\x08\x08\x00",
    "{time} {level} {message} {extra[x]} {exception}",
    "{0.__class__.__init__.__globals__}",
    "%n%s%d",
    "<red>x</red>",
)
HEADERS: Final = (
    "x\r\nSet-Cookie: owned=1",
    "x\nSet-Cookie: owned=1",
    "x\r\n\r\nHTTP/1.1 200 OK\r\nSet-Cookie: owned=1\r\n\r\n<html>",
    "x%0d%0aSet-Cookie: owned=1",
    "x嘊嘍Set-Cookie: owned=1",  # characters whose last bytes are CR and LF
    '"; filename="owned.exe',
)
OTHERS: Final = (
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "<script>alert(1)</script>",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "=cmd|'/c calc'!A0",
    "() { :;}; echo owned",
    "; cat /etc/passwd |",
    "${jndi:ldap://127.0.0.1/x}",
    "file:///etc/passwd",
    "\u202egnp.exe",
    "\ufeffx",
    "Qx\u0301\u0301\u0301",
    "👩‍👩‍👧‍👦",
    "ﷺ" * 5,
    "true",
    "-1e999",
)
ALL: Final = (*SQL, *LINES, *HEADERS, *OTHERS)
