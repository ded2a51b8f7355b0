"""HTML pages from Jinja templates that lie beside the code that fills them."""

from pathlib import Path
from typing import Any


def render(template: Path, context: dict[str, Any]) -> str:
    """The page: what the context gives is escaped, and a name that it lacks is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(context)
