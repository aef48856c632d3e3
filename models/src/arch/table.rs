//! The architectures by name.

use super::alexnet::AlexNet;
use super::architecture::Architecture;
use super::cifar_resnet::CifarResNet;
use super::convnext::ConvNeXt;
use super::densenet::DenseNet;
use super::efficientnet::EfficientNet;
use super::efficientnet_lite::EfficientNetLite;
use super::googlenet::GoogLeNet;
use super::mnasnet::MnasNet;
use super::mobilenet_v1::MobileNetV1;
use super::mobilenet_v2::MobileNetV2;
use super::mobilenet_v3::MobileNetV3;
use super::regnet::RegNet;
use super::resnet::ResNet;
use super::shufflenet_v2::ShuffleNetV2;
use super::small_net::SmallNet;
use super::squeezenet::SqueezeNet;
use super::student_net::StudentNet;
use super::vgg::{self, Vgg};

/// Every architecture, by the name that torchvision gives it where it has it.
pub(super) const ARCHITECTURES: &[(&str, &dyn Architecture)] = &[
    ("alexnet", &AlexNet),
    ("vgg11", &Vgg::vgg11(false)),
    ("vgg11_bn", &Vgg::vgg11(true)),
    ("vgg13", &Vgg::vgg13(false)),
    ("vgg13_bn", &Vgg::vgg13(true)),
    ("vgg16", &Vgg::vgg16(false)),
    ("vgg16_bn", &Vgg::vgg16(true)),
    ("vgg19", &Vgg::vgg19(false)),
    ("vgg19_bn", &Vgg::vgg19(true)),
    ("googlenet", &GoogLeNet),
    ("resnet18", &ResNet::basic(&[2, 2, 2, 2])),
    ("resnet34", &ResNet::basic(&[3, 4, 6, 3])),
    ("resnet50", &ResNet::bottleneck(&[3, 4, 6, 3])),
    ("resnet101", &ResNet::bottleneck(&[3, 4, 23, 3])),
    ("resnet152", &ResNet::bottleneck(&[3, 8, 36, 3])),
    ("resnext50_32x4d", &ResNet::grouped(&[3, 4, 6, 3], 32, 4)),
    ("resnext101_32x8d", &ResNet::grouped(&[3, 4, 23, 3], 32, 8)),
    ("resnext101_64x4d", &ResNet::grouped(&[3, 4, 23, 3], 64, 4)),
    ("wide_resnet50_2", &ResNet::grouped(&[3, 4, 6, 3], 1, 128)),
    ("wide_resnet101_2", &ResNet::grouped(&[3, 4, 23, 3], 1, 128)),
    ("densenet121", &DenseNet { layers: [6, 12, 24, 16], growth: 32, stem: 64 }),
    ("densenet161", &DenseNet { layers: [6, 12, 36, 24], growth: 48, stem: 96 }),
    ("densenet169", &DenseNet { layers: [6, 12, 32, 32], growth: 32, stem: 64 }),
    ("densenet201", &DenseNet { layers: [6, 12, 48, 32], growth: 32, stem: 64 }),
    ("squeezenet1_0", &SqueezeNet::V1_0),
    ("squeezenet1_1", &SqueezeNet::V1_1),
    ("mobilenet_v1", &MobileNetV1),
    ("mobilenet_v2", &MobileNetV2),
    ("mobilenet_v3_small", &MobileNetV3::SMALL),
    ("mobilenet_v3_large", &MobileNetV3::LARGE),
    ("mobilenetv3_small_100", &MobileNetV3::SMALL.of_timm()),
    ("mobilenetv3_large_100", &MobileNetV3::LARGE.of_timm()),
    ("mnasnet0_5", &MnasNet { width: 0.5 }),
    ("mnasnet0_75", &MnasNet { width: 0.75 }),
    ("mnasnet1_0", &MnasNet { width: 1.0 }),
    ("mnasnet1_3", &MnasNet { width: 1.3 }),
    ("efficientnet_lite0", &EfficientNetLite::LITE0),
    ("efficientnet_lite1", &EfficientNetLite::LITE1),
    ("efficientnet_lite2", &EfficientNetLite::LITE2),
    ("efficientnet_lite3", &EfficientNetLite::LITE3),
    ("efficientnet_lite4", &EfficientNetLite::LITE4),
    ("efficientnet_b0", &EfficientNet::B0),
    ("efficientnet_b1", &EfficientNet::B1),
    ("efficientnet_b2", &EfficientNet::B2),
    ("efficientnet_b3", &EfficientNet::B3),
    ("efficientnet_b4", &EfficientNet::B4),
    ("shufflenet_v2_x0_5", &ShuffleNetV2 { channels: [48, 96, 192], last: 1024, resize: 256 }),
    ("shufflenet_v2_x1_0", &ShuffleNetV2 { channels: [116, 232, 464], last: 1024, resize: 256 }),
    ("shufflenet_v2_x1_5", &ShuffleNetV2 { channels: [176, 352, 704], last: 1024, resize: 232 }),
    ("shufflenet_v2_x2_0", &ShuffleNetV2 { channels: [244, 488, 976], last: 2048, resize: 232 }),
    ("regnet_x_400mf", &RegNet::x([1, 2, 7, 12], [32, 64, 160, 400], [16; 4])),
    ("regnet_x_800mf", &RegNet::x([1, 3, 7, 5], [64, 128, 288, 672], [16; 4])),
    ("regnet_x_1_6gf", &RegNet::x([2, 4, 10, 2], [72, 168, 408, 912], [24; 4])),
    ("regnet_x_3_2gf", &RegNet::x([2, 6, 15, 2], [96, 192, 432, 1008], [48; 4])),
    ("regnet_x_8gf", &RegNet::x([2, 5, 15, 1], [80, 240, 720, 1920], [80, 120, 120, 120])),
    ("regnet_x_16gf", &RegNet::x([2, 6, 13, 1], [256, 512, 896, 2048], [128; 4])),
    ("regnet_x_32gf", &RegNet::x([2, 7, 13, 1], [336, 672, 1344, 2520], [168; 4])),
    ("regnet_y_400mf", &RegNet::y([1, 3, 6, 6], [48, 104, 208, 440], [8; 4])),
    ("regnet_y_800mf", &RegNet::y([1, 3, 8, 2], [64, 144, 320, 784], [16; 4])),
    ("regnet_y_1_6gf", &RegNet::y([2, 6, 17, 2], [48, 120, 336, 888], [24; 4])),
    ("regnet_y_3_2gf", &RegNet::y([2, 5, 13, 1], [72, 216, 576, 1512], [24; 4])),
    ("regnet_y_8gf", &RegNet::y([2, 4, 10, 1], [224, 448, 896, 2016], [56; 4])),
    ("regnet_y_16gf", &RegNet::y([2, 4, 11, 1], [224, 448, 1232, 3024], [112; 4])),
    ("regnet_y_32gf", &RegNet::y([2, 5, 12, 1], [232, 696, 1392, 3712], [232; 4])),
    ("regnet_y_128gf", &RegNet::y([2, 7, 17, 1], [528, 1056, 2904, 7392], [264; 4])),
    ("convnext_tiny", &ConvNeXt { blocks: [3, 3, 9, 3], channels: 96, resize: 236 }),
    ("convnext_small", &ConvNeXt { blocks: [3, 3, 27, 3], channels: 96, resize: 230 }),
    ("convnext_base", &ConvNeXt { blocks: [3, 3, 27, 3], channels: 128, resize: 232 }),
    ("convnext_large", &ConvNeXt { blocks: [3, 3, 27, 3], channels: 192, resize: 232 }),
    ("cifar_resnet20", &CifarResNet::padded(3)),
    ("cifar_resnet32", &CifarResNet::padded(5)),
    ("cifar_resnet44", &CifarResNet::padded(7)),
    ("cifar_resnet56", &CifarResNet::padded(9)),
    ("cifar_resnet110", &CifarResNet::padded(18)),
    ("cifar_resnet20_b", &CifarResNet::projected(3)),
    ("cifar_resnet32_b", &CifarResNet::projected(5)),
    ("cifar_resnet44_b", &CifarResNet::projected(7)),
    ("cifar_resnet56_b", &CifarResNet::projected(9)),
    ("cifar_vgg11_bn", &Vgg::cifar(vgg::A)),
    ("cifar_vgg13_bn", &Vgg::cifar(vgg::B)),
    ("cifar_vgg16_bn", &Vgg::cifar(vgg::D)),
    ("cifar_vgg19_bn", &Vgg::cifar(vgg::E)),
    ("student_net", &StudentNet),
    ("small_net", &SmallNet),
    ("vgg8_bn", &Vgg::vgg8_bn()),
    ("resnet8", &ResNet::resnet8()),
];
