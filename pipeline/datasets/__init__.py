"""One reader per source format."""

READERS = {
    "camvid": "pipeline.datasets.camvid:read",
    "coco": "pipeline.datasets.coco:read",
    "coco_json": "pipeline.datasets.coco_json:read",
    "folder": "pipeline.datasets.folder:read",
    "labelme": "pipeline.datasets.labelme:read",
    "oxford_pet": "pipeline.datasets.oxford_pet:read",
    "penn_fudan": "pipeline.datasets.penn_fudan:read",
    "shapes": "pipeline.datasets.shapes:read",
}
