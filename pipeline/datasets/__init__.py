"""One reader per source format."""

READERS = {
    "brain_mri": "pipeline.datasets.brain_mri:read",
    "camvid": "pipeline.datasets.camvid:read",
    "cityscapes": "pipeline.datasets.cityscapes:read",
    "coco": "pipeline.datasets.coco:read",
    "coco_json": "pipeline.datasets.coco_json:read",
    "cvat_images_xml": "pipeline.datasets.cvat_images_xml:read",
    "darwin_json": "pipeline.datasets.darwin_json:read",
    "folder": "pipeline.datasets.folder:read",
    "labelme": "pipeline.datasets.labelme:read",
    "open_images_v6": "pipeline.datasets.open_images_v6:read",
    "oxford_pet": "pipeline.datasets.oxford_pet:read",
    "penn_fudan": "pipeline.datasets.penn_fudan:read",
    "shapes": "pipeline.datasets.shapes:read",
    "voc2012": "pipeline.datasets.voc2012:read",
    "yolo_segmentation": "pipeline.datasets.yolo_segmentation:read",
}

# reader -> how to get a data set that no program can fetch
BY_HAND = {
    "cityscapes": (
        "Cityscapes is behind a login: register at https://www.cityscapes-dataset.com, fetch leftImg8bit_trainvaltest.zip "
        "(11 GB) and gtFine_trainvaltest.zip (241 MB) from its page of downloads, unpack both into one folder, so that it "
        "holds leftImg8bit/ and gtFine/, and give that folder as dataset.source. The option coarse wants "
        "leftImg8bit_trainextra.zip (44 GB) and gtCoarse.zip (1.3 GB) beside them."
    ),
    "open_images_v6": (
        "Open Images comes in many files without published checksums: presets/open_images_v6.yaml names their addresses; fetch "
        "the parts that you want into one folder, and give that as dataset.source"
    ),
}
