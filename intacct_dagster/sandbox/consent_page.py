"""The page on which a user allows an application in; the one page of the sandbox."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Allow access · sandbox company</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif }}
body {{ max-width: 30rem; margin: 4rem auto; padding: 0 1rem }}
label, select, button {{ font: inherit }}
select {{ display: block; width: 100%; margin: .25rem 0 1.5rem; padding: .4rem }}
button {{ padding: .5rem 1.2rem; margin-right: .5rem }}
</style>
</head>
<body>
<h1>Allow access?</h1>
<p>The application <strong>{client}</strong> asks to act for a user of the sandbox company
<strong>{company}</strong>. Afterwards you are sent back to <code>{redirect}</code>.</p>
<form method="post" action="">
{hidden}
<label>User <select name="user">
{users}
</select></label>
<button name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button>
</form>
</body>
</html>
"""


def consent_page(company: str, users: Iterable[tuple[str, str]], asked: Mapping[str, str]) -> str:
    """The page as HTML. `users`: ids and names; `asked`: the parameters of the request, which the
    form sends along."""
    return _PAGE.format(
        client=escape(asked.get("client_id", "")),
        company=escape(company),
        redirect=escape(asked.get("redirect_uri", "")),
        hidden="\n".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
            for name, value in asked.items()
            if name not in ("user", "decision")
        ),
        users="\n".join(
            f'<option value="{escape(id_)}">{escape(id_)} ({escape(name)})</option>'
            for id_, name in users
        ),
    )
