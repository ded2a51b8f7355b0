"""Encoders: where their weights come from, and which cannot serve."""

import pytest
import torch

from pipeline.models import _encoders
from pipeline.models._network import Targets
from pipeline.provenance import file_hash
from tests.test_models import build


def test_the_bundled_encoder_knows_a_cat():
    import timm
    from skimage import data

    classifier = timm.create_model("tf_efficientnet_lite0")
    features = _encoders.create("tf_efficientnet_lite0", pretrained=True)
    assert features.state_dict().keys() <= classifier.state_dict().keys()
    classifier.load_state_dict(_encoders.bundled_weights("tf_efficientnet_lite0"))
    for key, tensor in features.state_dict().items():
        assert torch.equal(tensor, classifier.state_dict()[key])
    image = torch.from_numpy(data.chelsea()[:, 75:375].copy()).permute(2, 0, 1)[None].float() / 255
    image = torch.nn.functional.interpolate(image, size=(224, 224), mode="bilinear", antialias=True)
    top = classifier.eval()((image - 0.498) / 0.502).topk(3).indices[0].tolist()
    assert set(top) & {281, 282, 285}  # tabby, tiger cat, Egyptian cat


def test_a_frozen_encoder_keeps_weights_and_statistics():
    network = build("unet_encoder", freeze_encoder=True).train()
    before = {key: tensor.clone() for key, tensor in network.encoder.state_dict().items()}
    sum(network.losses(torch.rand(2, 3, 64, 64), Targets(torch.zeros(2, 64, 64, dtype=torch.int64))).values()).backward()
    assert all(parameter.grad is None for parameter in network.encoder.parameters())
    assert all(torch.equal(before[key], tensor) for key, tensor in network.encoder.state_dict().items())


def test_weights_from_a_local_file(tmp_path):
    import timm
    from safetensors.torch import save_file

    full = timm.create_model("mobilenetv2_100", pretrained=False)
    save_file(full.state_dict(), tmp_path / "mobilenet.safetensors")
    path = tmp_path / "mobilenet.safetensors"
    with pytest.raises(
        ValueError, match=r"mobilenet\.safetensors is not pinned; write pretrained: .*#sha256=[0-9a-f]{64}"
    ) as found:
        build("unet_encoder", encoder="mobilenetv2_100", pretrained=str(path))
    pinned = str(found.value).rsplit("pretrained: ", 1)[1]
    network = build("unet_encoder", encoder="mobilenetv2_100", pretrained=pinned)
    assert torch.equal(network.encoder.state_dict()["conv_stem.weight"], full.state_dict()["conv_stem.weight"])


def test_weights_with_other_bytes_than_pinned_are_refused(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"weights\.safetensors has other bytes than its pin says; write pretrained: "):
        build("unet_encoder", pretrained=f"{tmp_path / 'weights.safetensors'}#sha256={'0' * 64}")


def test_weights_under_other_names_are_refused(tmp_path):
    import timm
    from safetensors.torch import save_file

    path = tmp_path / "weights.safetensors"
    given = {f"module.{key}": tensor for key, tensor in timm.create_model("tf_efficientnet_lite0").state_dict().items()}
    save_file(given, path)
    pinned = f"{path}#sha256={file_hash(path)}"
    message = (
        r"lacks \d+ of the \d+ tensors of tf_efficientnet_lite0, such as blocks.*; it has module\..* Give a file with timm's"
    )
    with pytest.raises(ValueError, match=message):
        _encoders.create("tf_efficientnet_lite0", pretrained=pinned)
    headless = {key.removeprefix("module."): tensor for key, tensor in given.items() if "classifier" not in key}
    save_file(headless, path)
    features = _encoders.create("tf_efficientnet_lite0", pretrained=f"{path}#sha256={file_hash(path)}")
    assert torch.equal(features.state_dict()["conv_stem.weight"], headless["conv_stem.weight"])


def test_weights_that_cannot_be_fetched_are_one_clear_error(monkeypatch):
    import timm

    def away(name, **options):
        raise FileNotFoundError("cannot reach the hub\nand more")

    monkeypatch.setattr(timm, "create_model", away)
    with pytest.raises(
        ValueError, match=r"of resnet18 come from the internet, .*cannot reach the hub\); give pretrained: false"
    ):
        _encoders.create("resnet18", pretrained=True)


@pytest.mark.parametrize(
    "name, encoder, message",
    [
        ("pspnet", "vgg16", "timm cannot make it with features_only=True, output_stride=16; choose another encoder"),
        ("pspnet", "densenet121", "timm cannot make it with features_only=True, output_stride=16; choose another encoder"),
        ("unet_encoder", "swin_tiny_patch4_window7_224", "gives maps with the channels last; choose a convolutional encoder"),
        ("unet_encoder", "vit_tiny_patch16_224", r"maps of strides \(16, 16, 16\), no pyramid"),
    ],
)
def test_an_encoder_that_cannot_serve_is_one_clear_error(name, encoder, message):
    with pytest.raises(ValueError, match=message):
        build(name, encoder=encoder, **({"widths": [16, 8, 8, 8]} if name == "unet_encoder" else {}))


def test_an_unknown_encoder_lists_near_ones():
    with pytest.raises(ValueError, match=r"'tf_efficientnet_light0' is unknown to timm; near ones: tf_eff"):
        build("unet_encoder", encoder="tf_efficientnet_light0")


def test_a_missing_weights_file_is_named():
    with pytest.raises(ValueError, match=r"pretrained: nowhere\.safetensors is not a \.safetensors file"):
        build("unet_encoder", pretrained="nowhere.safetensors")
