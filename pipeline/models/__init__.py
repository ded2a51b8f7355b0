"""One network per file."""

NETWORKS = {
    "deeplabv1": "pipeline.models.deeplabv1:DeepLabV1",
    "deeplabv2": "pipeline.models.deeplabv2:DeepLabV2",
    "deeplabv3": "pipeline.models.deeplabv3:DeepLabV3",
    "deeplabv3_plus": "pipeline.models.deeplabv3_plus:DeepLabV3Plus",
    "fastfcn": "pipeline.models.fastfcn:FastFCN",
    "fcn16s": "pipeline.models.fcn16s:FCN16s",
    "fcn32s": "pipeline.models.fcn32s:FCN32s",
    "fcn8s": "pipeline.models.fcn8s:FCN8s",
    "fcn_plain": "pipeline.models.fcn_plain:FCNPlain",
    "gated_scnn": "pipeline.models.gated_scnn:GatedSCNN",
    "mask_rcnn": "pipeline.models.mask_rcnn:MaskRCNN",
    "panoptic_fpn": "pipeline.models.panoptic_fpn:PanopticFPN",
    "parsenet": "pipeline.models.parsenet:ParseNet",
    "pspnet": "pipeline.models.pspnet:PSPNet",
    "segnet": "pipeline.models.segnet:SegNet",
    "segnet_basic": "pipeline.models.segnet_basic:SegNetBasic",
    "unet": "pipeline.models.unet:UNet",
    "unet_encoder": "pipeline.models.unet_encoder:UNetEncoder",
    "yolact": "pipeline.models.yolact:YOLACT",
}
