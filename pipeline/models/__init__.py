"""One network per file."""

NETWORKS = {
    "fcn_plain": "pipeline.models.fcn_plain:FCNPlain",
    "unet": "pipeline.models.unet:UNet",
    "unet_encoder": "pipeline.models.unet_encoder:UNetEncoder",
}
