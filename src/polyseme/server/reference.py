"""/docs: the endpoints as a page, made of the OpenAPI description; no script, no other address."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

Described = dict[str, Any]


def reference(described: Described) -> str:
    """The page.

    Args:
        described: of OpenAPI 3.1, as FastAPI gives it.
    """
    schemas: Described = described["components"]["schemas"]
    info = described["info"]
    parts = [
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(info['title'])}: endpoints</title>",
        '<link rel="stylesheet" href="docs.css">',
        f"<main>\n<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info['description'])}</p>",
        '<p><a href=".">The page</a> · <a href="openapi.json">OpenAPI description</a></p>',
    ]
    tag = None
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            if operation["tags"] != tag:
                tag = operation["tags"]
                parts.append(f"<h2>{escape(', '.join(tag))}</h2>")
            parts += _operation(method, path, operation, schemas)
    return "\n".join([*parts, "</main>", ""])


def _operation(method: str, path: str, operation: Described, schemas: Described) -> Iterator[str]:
    yield f'<section id="{escape(method + path)}">'
    yield f"<h3><b>{method.upper()}</b> {escape(path)}</h3>"
    yield f"<p>{escape(operation.get('description', ''))}</p>"
    body = _schema_of(operation.get("requestBody"), schemas)
    if body:
        yield from _fields("Body", body, schemas)
        for example in body.get("examples", ()):
            sent = escape(json.dumps(example, ensure_ascii=False))
            yield (
                f"<pre>curl -X {method.upper()} http://HOST{escape(path)} \\\n"
                f"  -H 'Content-Type: application/json' \\\n  -d '{sent}'</pre>"
            )
    answer = _schema_of(operation["responses"].get("200"), schemas)
    if answer:
        yield from _fields("Answer", answer, schemas)
    errors = [
        f"<b>{code}</b> {escape(response['description'])}"
        for code, response in operation["responses"].items()
        if code != "200"
    ]
    if errors and body:
        yield f"<details><summary>Errors</summary><p>{'<br>'.join(errors)}</p></details>"
    yield "</section>"


def _fields(title: str, schema: Described, schemas: Described) -> Iterator[str]:
    required = schema.get("required", ())
    yield f"<table><caption>{title}</caption>"
    for name, field in schema.get("properties", {}).items():
        notes = [field.get("description", "")]
        if "default" in field:
            notes.append(f"Default: {json.dumps(field['default'])}.")
        elif name not in required:
            notes.append("Optional.")
        yield (
            f"<tr><th>{escape(name)}</th><td>{escape(_type(field, schemas))}</td>"
            f"<td>{escape(' '.join(note for note in notes if note))}</td></tr>"
        )
    yield "</table>"


def _type(field: Described, schemas: Described) -> str:
    """A field's type as a reader takes it in."""
    if "$ref" in field:
        inner = _resolved(field, schemas).get("properties", {})
        return f"{{{', '.join(inner)}}}"
    if "anyOf" in field:
        return " or ".join(_type(one, schemas) for one in field["anyOf"])
    if "enum" in field:
        return " or ".join(json.dumps(value) for value in field["enum"])
    if "const" in field:
        return json.dumps(field["const"])
    kind = str(field.get("type", "any"))
    if kind == "array" and "items" in field:
        inside = _type(field["items"], schemas)
        return f"list of {inside}"
    return kind


def _schema_of(part: Described | None, schemas: Described) -> Described:
    """The schema of a body or an answer, if it has one."""
    content = (part or {}).get("content", {}).get("application/json", {})
    return _resolved(content.get("schema", {}), schemas)


def _resolved(schema: Described, schemas: Described) -> Described:
    reference = schema.get("$ref")
    found: Described = schemas[reference.rpartition("/")[2]] if reference else schema
    return found
