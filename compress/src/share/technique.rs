//! Weight sharing as a technique: a callback of training, or a rewrite without it.

use super::{ShareConfig, Sharer, share};
use crate::criteria::Evidence;
use crate::techniques::{Applied, Kind, Listed, Role, Sketch, Technique};
use lopper_engine::train::Callback;
use lopper_engine::{About, Graph, Result};

impl Listed for ShareConfig {
    const KIND: Kind = Kind {
        name: "share",
        role: Role::Callback,
        about: About::new(
            "w ← value[code], 2^bits values a layer by k-means",
            "Han et al. 2016, Deep compression: compressing deep neural networks with pruning, trained quantization and \
             Huffman coding",
        ),
    };
}

impl Technique for ShareConfig {
    fn kind(&self) -> Kind {
        Self::KIND
    }

    fn check(&self) -> Result<()> {
        self.check()
    }

    fn rehearse(&self, sketch: Sketch, _trains: bool, _teacher: Option<&Sketch>) -> Result<Sketch> {
        self.layers(&sketch.graph)?;
        Ok(sketch)
    }

    fn apply(&self, graph: &Graph, _evidence: Option<&Evidence>) -> Result<Applied> {
        Ok(share(graph, self)?.into())
    }

    fn callback(&self) -> Result<Option<Box<dyn Callback>>> {
        Ok(Some(Box::new(Sharer::new(self.clone())?)))
    }
}
