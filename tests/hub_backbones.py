"""Small models of every family of image backbones that KerasHub has."""

from keras_hub import layers
from keras_hub import models

# A function for each, by the name of its class in `keras_hub.models`.
BACKBONES = {}

IMAGE = (64, 64, 3)
VIT = {
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "image_shape": (32, 32, 3),
    "patch_size": 8,
}


def backbone(build):
    BACKBONES[build.__name__] = build
    return build


@backbone
def BASNetBackbone():
    encoder = ResNetBackbone((None, None, 3), 4)
    return models.BASNetBackbone(
        encoder, 1, image_shape=IMAGE, projection_filters=64
    )


@backbone
def CLIPVisionEncoder():
    return models.CLIPVisionEncoder(intermediate_dim=64, **VIT)


@backbone
def CSPNetBackbone():
    return models.CSPNetBackbone(
        stem_filters=8,
        stem_kernel_size=3,
        stem_strides=1,
        stackwise_depth=[1, 2],
        stackwise_strides=[1, 2],
        stackwise_num_filters=[16, 24],
        block_type="dark_block",
        stage_type="dark",
        image_shape=(32, 32, 3),
    )


@backbone
def DFineBackbone():
    return models.DFineBackbone(
        backbone=HGNetV2Backbone((None, None, 3), ["stage1", "stage2"]),
        decoder_in_channels=[16, 16],
        encoder_hidden_dim=16,
        num_denoising=0,
        num_labels=4,
        hidden_dim=16,
        learn_initial_query=False,
        num_queries=10,
        anchor_image_size=(64, 64),
        feat_strides=[4, 8],
        num_feature_levels=2,
        encoder_in_channels=[16, 24],
        encode_proj_layers=[1],
        num_attention_heads=2,
        encoder_ffn_dim=64,
        num_encoder_layers=1,
        hidden_expansion=0.5,
        depth_multiplier=0.5,
        eval_idx=-1,
        num_decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=64,
        decoder_n_points=[2, 2],
        lqe_hidden_dim=8,
        num_lqe_layers=2,
        out_features=["stage1", "stage2"],
        image_shape=IMAGE,
        seed=0,
    )


@backbone
def DINOV2Backbone():
    return models.DINOV2Backbone(
        intermediate_dim=64, position_embedding_shape=(32, 32), **VIT
    )


@backbone
def DINOV3Backbone():
    return models.DINOV3Backbone(intermediate_dim=64, **VIT)


@backbone
def DeepLabV3Backbone():
    return models.DeepLabV3Backbone(
        image_encoder=ResNetBackbone((None, None, 3), 4),
        projection_filters=8,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P5",
        upsampling_size=8,
        dilation_rates=[2, 4],
        image_shape=IMAGE,
    )


@backbone
def DeiTBackbone():
    return models.DeiTBackbone(intermediate_dim=64, **VIT)


@backbone
def DenseNetBackbone():
    return models.DenseNetBackbone([2, 2], IMAGE, growth_rate=8)


@backbone
def DepthAnythingBackbone():
    encoder = models.DINOV2Backbone(
        intermediate_dim=64,
        position_embedding_shape=(64, 64),
        **{**VIT, "num_layers": 4, "image_shape": IMAGE},
    )
    return models.DepthAnythingBackbone(
        image_encoder=encoder,
        reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_dims=[8, 12, 16, 20],
        fusion_hidden_dim=16,
        head_hidden_dim=8,
        head_in_index=-1,
        feature_keys=["stage1", "stage2", "stage3", "stage4"],
    )


@backbone
def EfficientNetBackbone():
    return models.EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 3, 5],
        stackwise_num_repeats=[1, 2, 2],
        stackwise_input_filters=[16, 16, 24],
        stackwise_output_filters=[16, 24, 32],
        stackwise_expansion_ratios=[1, 4, 4],
        stackwise_squeeze_and_excite_ratios=[0.0, 0.25, 0.25],
        stackwise_strides=[1, 2, 2],
        stackwise_block_types=["fused", "unfused", "v1"],
        stackwise_width_coefficients=[1.0] * 3,
        stackwise_depth_coefficients=[1.0] * 3,
        num_features=64,
        input_shape=IMAGE,
    )


@backbone
def HGNetV2Backbone(image_shape=IMAGE, out_features=None):
    return models.HGNetV2Backbone(
        depths=[1, 2],
        embedding_size=8,
        hidden_sizes=[16, 24],
        stem_channels=[3, 8, 8],
        hidden_act="relu",
        use_learnable_affine_block=False,
        stackwise_stage_filters=[(8, 8, 16, 1, 2, 3), (16, 8, 24, 2, 2, 3)],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, True],
        image_shape=image_shape,
        out_features=out_features,
    )


@backbone
def MetaCLIP2VisionEncoder():
    return models.MetaCLIP2VisionEncoder(intermediate_dim=64, **VIT)


@backbone
def MiTBackbone(image_shape=IMAGE):
    return models.MiTBackbone(
        image_shape=image_shape,
        num_layers=4,
        hidden_dims=[8, 16, 24, 32],
        layerwise_depths=[1, 1, 1, 1],
        layerwise_num_heads=[1, 2, 2, 2],
        layerwise_sr_ratios=[8, 4, 2, 1],
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        max_drop_path_rate=0.1,
    )


@backbone
def MobileNetBackbone():
    return models.MobileNetBackbone(
        stackwise_expansion=[[40, 56], [64, 72]],
        stackwise_num_blocks=[2, 2],
        stackwise_num_filters=[[16, 16], [24, 24]],
        stackwise_kernel_size=[[3, 3], [5, 5]],
        stackwise_num_strides=[[2, 1], [2, 1]],
        stackwise_se_ratio=[[None, None], [0.25, 0.25]],
        stackwise_activation=[["relu"] * 2, ["hard_swish"] * 2],
        stackwise_padding=[[1, 1], [2, 2]],
        output_num_filters=64,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        last_layer_filter=48,
        squeeze_and_excite=0.5,
        image_shape=IMAGE,
    )


@backbone
def MobileNetV5Backbone():
    return models.MobileNetV5Backbone(
        stackwise_block_types=[["er"], ["uir", "uir"]],
        stackwise_num_blocks=[1, 2],
        stackwise_num_filters=[[16], [24, 24]],
        stackwise_strides=[[2], [2, 1]],
        stackwise_act_layers=[["relu"], ["relu", "relu"]],
        stackwise_exp_ratios=[[4.0], [6.0, 6.0]],
        stackwise_se_ratios=[[0.0], [0.0, 0.0]],
        stackwise_dw_kernel_sizes=[[0], [5, 5]],
        stackwise_dw_start_kernel_sizes=[[0], [0, 0]],
        stackwise_dw_end_kernel_sizes=[[0], [0, 0]],
        stackwise_exp_kernel_sizes=[[3], [0, 0]],
        stackwise_pw_kernel_sizes=[[1], [0, 0]],
        stackwise_num_heads=[[0], [0, 0]],
        stackwise_key_dims=[[0], [0, 0]],
        stackwise_value_dims=[[0], [0, 0]],
        stackwise_kv_strides=[[0], [0, 0]],
        stackwise_use_cpe=[[False], [False, False]],
        use_msfa=False,
        image_shape=IMAGE,
    )


@backbone
def PARSeqBackbone():
    return models.PARSeqBackbone(
        image_encoder=ViTBackbone(False),
        vocabulary_size=20,
        max_label_length=6,
        decoder_hidden_dim=16,
        num_decoder_layers=1,
        num_decoder_heads=2,
        decoder_mlp_dim=64,
    )


@backbone
def ResNetBackbone(image_shape=IMAGE, stages=3):
    return models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 16, 24, 32][:stages],
        stackwise_num_blocks=[1, 2, 1, 1][:stages],
        stackwise_num_strides=[1, 2, 2, 2][:stages],
        block_type="basic_block",
        use_pre_activation=False,
        image_shape=image_shape,
    )


@backbone
def RetinaNetBackbone():
    return models.RetinaNetBackbone(
        image_encoder=ResNetBackbone(IMAGE, 4),
        min_level=3,
        max_level=5,
        use_p5=True,
        image_shape=IMAGE,
    )


@backbone
def SAMBackbone():
    return models.SAMBackbone(
        image_encoder=ViTDetBackbone(),
        prompt_encoder=layers.SAMPromptEncoder(
            hidden_size=8,
            image_embedding_size=(8, 8),
            input_image_size=(64, 64),
            mask_in_channels=16,
        ),
        mask_decoder=layers.SAMMaskDecoder(
            num_layers=2,
            hidden_size=8,
            intermediate_dim=64,
            num_heads=2,
            embedding_dim=8,
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=8,
        ),
    )


@backbone
def SegFormerBackbone():
    return models.SegFormerBackbone(
        image_encoder=MiTBackbone(), projection_filters=16
    )


@backbone
def SigLIPVisionEncoder():
    return models.SigLIPVisionEncoder(intermediate_dim=64, **VIT)


@backbone
def SwinTransformerBackbone():
    return models.SwinTransformerBackbone(
        image_shape=(32, 32, 3),
        embed_dim=12,
        depths=(2, 2),
        num_heads=(2, 2),
        window_size=4,
    )


@backbone
def VGGBackbone():
    return models.VGGBackbone([2, 2], [8, 16], image_shape=IMAGE)


@backbone
def ViTBackbone(use_class_token=True):
    return models.ViTBackbone(
        mlp_dim=64, use_class_token=use_class_token, **VIT
    )


@backbone
def ViTDetBackbone():
    return models.ViTDetBackbone(
        image_shape=IMAGE,
        patch_size=8,
        hidden_size=16,
        num_layers=2,
        global_attention_layer_indices=[1],
        intermediate_dim=128,
        num_heads=2,
        num_output_channels=8,
        window_size=2,
    )


@backbone
def VideoPrismBackbone():
    return models.VideoPrismBackbone(
        num_frames=2,
        intermediate_dim=64,
        num_spatial_layers=1,
        num_temporal_layers=1,
        num_auxiliary_layers=0,
        **{k: v for k, v in VIT.items() if k != "num_layers"},
    )


@backbone
def XceptionBackbone():
    return models.XceptionBackbone(
        stackwise_conv_filters=[[8, 16], [16, 24], [24, 24]],
        stackwise_pooling=[True, True, False],
        image_shape=IMAGE,
    )
