//! Architectures by name. Each is a body, which outputs an image, and a classifier on top of it. A new one is a file
//! here and a line in the table.

mod architecture;
mod build;
mod cifar_resnet;
mod efficientnet_lite;
mod head;
mod mobilenet_v2;
mod new_head;
mod options;
mod outputs;
mod pretraining;
mod resnet;
mod small_net;
mod student_net;
mod vgg;

use architecture::Architecture;
use cifar_resnet::CifarResNet;
use efficientnet_lite::EfficientNetLite0;
use mobilenet_v2::MobileNetV2;
use resnet::ResNet;
use small_net::SmallNet;
use student_net::StudentNet;
use vgg::Vgg;

pub use build::{build, names, our_name, pretraining};
pub use head::freeze_body;
pub use new_head::{NewHead, last_layer, last_layers, new_head, with_outputs};
pub use options::{Head, Options, numbered_classes};
pub use outputs::keep_outputs;
pub use pretraining::Pretraining;

const ARCHITECTURES: &[(&str, &dyn Architecture)] = &[
    ("vgg11", &Vgg::vgg11(false)),
    ("vgg11_bn", &Vgg::vgg11(true)),
    ("vgg13", &Vgg::vgg13(false)),
    ("vgg13_bn", &Vgg::vgg13(true)),
    ("vgg16", &Vgg::vgg16(false)),
    ("vgg16_bn", &Vgg::vgg16(true)),
    ("vgg19", &Vgg::vgg19(false)),
    ("vgg19_bn", &Vgg::vgg19(true)),
    ("resnet18", &ResNet::basic(&[2, 2, 2, 2])),
    ("resnet34", &ResNet::basic(&[3, 4, 6, 3])),
    ("resnet50", &ResNet::bottleneck(&[3, 4, 6, 3])),
    ("resnet101", &ResNet::bottleneck(&[3, 4, 23, 3])),
    ("resnet152", &ResNet::bottleneck(&[3, 8, 36, 3])),
    ("cifar_resnet20", &CifarResNet { blocks: 3 }),
    ("cifar_resnet32", &CifarResNet { blocks: 5 }),
    ("cifar_resnet44", &CifarResNet { blocks: 7 }),
    ("cifar_resnet56", &CifarResNet { blocks: 9 }),
    ("cifar_resnet110", &CifarResNet { blocks: 18 }),
    ("mobilenet_v2", &MobileNetV2),
    ("efficientnet_lite0", &EfficientNetLite0),
    ("student_net", &StudentNet),
    ("small_net", &SmallNet),
    ("vgg8_bn", &Vgg::vgg8_bn()),
    ("resnet8", &ResNet::resnet8()),
];
