//! Architectures by name. Each is a body, which outputs an image, and a classifier on top of it. A new one is a file
//! here and a line in the table.

mod alexnet;
mod architecture;
mod blocks;
mod build;
mod cifar_resnet;
mod convnext;
mod densenet;
mod efficientnet;
mod efficientnet_lite;
mod googlenet;
mod head;
mod mnasnet;
mod mobilenet_v1;
mod mobilenet_v2;
mod mobilenet_v3;
mod new_head;
mod options;
mod outputs;
mod pretraining;
mod regnet;
mod resnet;
mod shufflenet_v2;
mod small_net;
mod squeezenet;
mod student_net;
mod table;
mod timm;
mod vgg;

pub use build::{about, build, is_auxiliary, names, our_name, pretraining, published};
pub use head::freeze_body;
pub use new_head::{NewHead, last_layer, last_layers, new_head, with_outputs};
pub use options::{Head, Options, numbered_classes};
pub use outputs::keep_outputs;
pub use pretraining::Pretraining;
