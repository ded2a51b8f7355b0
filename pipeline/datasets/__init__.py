"""One reader per source format."""

READERS = {
    "camvid": "pipeline.datasets.camvid:read",
    "folder": "pipeline.datasets.folder:read",
    "shapes": "pipeline.datasets.shapes:read",
}
