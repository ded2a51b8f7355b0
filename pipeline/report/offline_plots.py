"""A page for `dvc plots` that draws without a network: `python -m pipeline.report.offline_plots OUT.html`.

DVC's own page loads the Vega scripts from an address, so it stays blank where there is no internet. This one holds them:

    python -m pipeline.report.offline_plots .dvc/tmp/plots.html
    dvc config --local plots.html_template tmp/plots.html
"""

import argparse
from pathlib import Path

from pipeline import files

VEGA_LITE = "5.21"  # the schema of the templates in .dvc/plots
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{refresh_tag}
<title>Plots</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 32px; }
body > div { margin-bottom: 40px; overflow-x: auto; }
table { border-spacing: 15px; }
</style>
<script>SCRIPTS</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def write_template(path: Path) -> None:
    """Write an HTML template as DVC's `plots.html_template` wants it, with the scripts inside.

    Raises
    ------
    ValueError : the scripts hold what DVC would take for one of its own placeholders.
    """
    import vl_convert

    scripts = vl_convert.javascript_bundle(vl_version=VEGA_LITE).replace("</script", r"<\/script")
    if any(placeholder in scripts for placeholder in ("{plot_divs}", "{refresh_tag}", "{scripts}")):
        raise ValueError(
            f"{path}: the scripts of vl-convert hold a placeholder of DVC's; use another version of vl-convert-python"
        )
    files.write_text(path, PAGE.replace("SCRIPTS", scripts))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the template to write")
    write_template(parser.parse_args(argv).out)


if __name__ == "__main__":
    main()
