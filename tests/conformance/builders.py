"""The network builders of akida_models, at small sizes."""

import sys
import types
from contextlib import nullcontext

from units import EVERY, Case


class Empty(types.ModuleType):
    """Stands in for a package that akida_models imports but that its builders never call."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def builders():
    for name in ("akida", "trimesh", "cv2", "tqdm", "tensorflow_datasets"):
        sys.modules[name] = Empty(name)
    import akida_models as zoo
    from akida_models.tenn_recurrent import convert_to_stateful
    from cnn2snn import AkidaVersion, set_akida_version

    def cases(name, builder, *bits, version=None, samples=2, frames=0, timesteps=0, tensor=False, **arguments):
        def build():
            with set_akida_version(AkidaVersion[version]) if version else nullcontext():
                model = builder(**arguments)
            return convert_to_stateful(model, timesteps) if timesteps else model

        qparams = {"per_tensor_activations": True} if tensor else {}
        for b in bits or EVERY:
            yield Case(f"{name}_{b}", build, b, qparams, arguments, samples, frames)

    def edge(classes, **arguments):
        return zoo.akidanet_edge_imagenet(zoo.akidanet_imagenet(**arguments), classes)

    small = {"input_shape": (32, 32, 3), "alpha": 0.25, "classes": 10}
    large = {"input_shape": (64, 64, 3)}
    points = {"selected_points": 64, "knn_points": 32, "alpha": 0.25}
    for version in ("v2", "v1"):
        # The first-generation forms, of separable layers, take their turn at per-tensor activations.
        how = {"version": version, "tensor": version == "v1"}
        yield from cases(f"akidanet_{version}", zoo.akidanet_imagenet, **how, **small)
        yield from cases(f"akidanet_edge_{version}", edge, **how, **small)
        yield from cases(f"mobilenet_{version}", zoo.mobilenet_imagenet, **how, **small)
        yield from cases(f"ds_cnn_{version}", zoo.ds_cnn_kws, **how)
        yield from cases(f"vgg_{version}", zoo.vgg_utk_face, **how)
        yield from cases(f"gxnor_{version}", zoo.gxnor_mnist, **how)
        yield from cases(f"convtiny_{version}", zoo.convtiny_dvs, **how, input_shape=(64, 64, 10))
        yield from cases(f"yolo_{version}", zoo.yolo_base, **how, **large, alpha=0.25, classes=2)
        yield from cases(f"pointnet_{version}", zoo.pointnet_plus_modelnet40, **how, **points)
    yield from cases("akidanet_tensor", zoo.akidanet_imagenet, tensor=True, **small)
    yield from cases("akidanet_half", zoo.akidanet_imagenet, "w8a8", **large, alpha=0.5, classes=10)
    yield from cases("akidanet_no_top", zoo.akidanet_imagenet, "w8a8", **large, alpha=0.25, include_top=False)
    yield from cases("mobilenet_tensor", zoo.mobilenet_imagenet, tensor=True, **small)

    blocks = {"dimensions": (16, 32, 48, 64), "classes": 10}
    yield from cases("akidanet18", zoo.akidanet18_imagenet, input_shape=(32, 32, 3), depths=(2, 2, 2, 2), **blocks)
    yield from cases("akidanet18_tensor", zoo.akidanet18_imagenet, tensor=True, depths=(1, 1, 1, 1), **large, **blocks)
    yield from cases("akida_unet", zoo.akida_unet_portrait128, **large, alpha=0.25)
    yield from cases("centernet", zoo.centernet_base, **large, classes=3, samples=1)

    clip = {"frames": 8, "input_length": 8}
    yield from cases("spatiotemporal_dvs128", zoo.tenn_spatiotemporal_dvs128, **clip, input_shape=(64, 64, 2))
    yield from cases("spatiotemporal_eye", zoo.tenn_spatiotemporal_eye, **clip, input_shape=(40, 53, 2))
    yield from cases("spatiotemporal_jester", zoo.tenn_spatiotemporal_jester, frames=8, input_shape=(8, 64, 64, 3))
    sound = {"frames": 2, "timesteps": 256, "input_shape": (1024, 1)}
    yield from cases("recurrent_sc12", zoo.tenn_recurrent_sc12, **sound)
    yield from cases("recurrent_uored", zoo.tenn_recurrent_uored, **sound)
