//! Operations other than convolutions and matrix products.

pub(in crate::cpu) mod activation;
pub(in crate::cpu) mod batch_norm;
pub(in crate::cpu) mod channels;
pub(in crate::cpu) mod columns;
pub(in crate::cpu) mod dropout;
pub(in crate::cpu) mod elementwise;
pub(in crate::cpu) mod gate;
pub(in crate::cpu) mod gather;
pub(in crate::cpu) mod group_norm;
pub(in crate::cpu) mod lanewise;
pub(in crate::cpu) mod layer_norm;
pub(in crate::cpu) mod linear;
pub(in crate::cpu) mod loss;
pub(in crate::cpu) mod optim;
pub(in crate::cpu) mod pool;
pub(in crate::cpu) mod pool_lanes;
pub(in crate::cpu) mod prelu;
pub(in crate::cpu) mod reduce;
pub(in crate::cpu) mod resize;
pub(in crate::cpu) mod softmax;
pub(in crate::cpu) mod winners;
