//! Why each technique works: two sentences and a formula, which open each stage of a report.

/// The reason behind a technique.
pub struct Why {
    /// Name of the technique, as in [`lopper_compress::techniques::Kind`]; or `train`.
    pub technique: &'static str,
    /// Two sentences.
    pub text: &'static str,
    /// The formula, in HTML.
    pub formula: &'static str,
}

/// The techniques in alphabetical order. A test requires an entry for each.
pub const WHYS: [Why; 12] = [
    Why {
        technique: "compact",
        text: "A convolution whose channels are partly dead gathers only the live ones, computes those, and writes the \
               known constants of the others. The network around it keeps its width, so this also suits channels that \
               a residual sum ties to live ones.",
        formula: "y<sub>live</sub> = W<sub>live, live</sub> ∗ x<sub>live</sub> + b′, &nbsp; y<sub>dead</sub> = constant",
    },
    Why {
        technique: "distill",
        text: "A teacher's probabilities also say which wrong classes are nearly right, which a label does not. A \
               temperature T above 1 enlarges these small probabilities, so that a student learns from them.",
        formula: "L = (1 − λ) H(y, p<sub>student</sub>) + λ T² KL(softmax(z<sub>teacher</sub> / T) ‖ \
                  softmax(z<sub>student</sub> / T))",
    },
    Why {
        technique: "factorize",
        text: "The weights of a large layer are nearly of low rank: a few directions carry most of its effect. Thin layers \
               of rank r replace it, and the error of two is exactly the tail of singular values that they leave out.",
        formula: "W ≈ B A, &nbsp; ‖W − B A‖ / ‖W‖ = √(Σ<sub>i &gt; r</sub> σ<sub>i</sub>² / Σ σ<sub>i</sub>²)",
    },
    Why {
        technique: "fold",
        text: "After training, batch norm multiplies and shifts each channel by fixed numbers, and a convolution can do \
               both with its own weights. The function stays the same, and a pass over the data is saved.",
        formula: "w′ = γ / √(σ² + ε) · w, &nbsp; b′ = β + γ (b − μ) / √(σ² + ε)",
    },
    Why {
        technique: "lottery",
        text: "A trained network shows which of its weights matter. These alone, set back to where they started, often \
               train as well as the whole network, which a random choice of weights does not.",
        formula: "w ← m ⊙ w<sub>k</sub>, &nbsp; m<sub>i</sub> = [|w<sub>T, i</sub>| among the largest that are left]",
    },
    Why {
        technique: "prune",
        text: "A filter that is zero outputs the same number for every image, and the layers that read a constant can \
               add its effect to their own bias. Cutting the channel then makes the layers smaller while they stay \
               dense, which every kernel profits from.",
        formula: "c = max(0, β − γ μ / √(σ² + ε)), &nbsp; b′ = b + Σ<sub>dead</sub> c · Σ<sub>window</sub> w",
    },
    Why {
        technique: "regularize",
        text: "A penalty pulls groups of weights toward zero while the task holds those that it needs. Removing the small \
               groups afterwards then changes little.",
        formula: "L = L<sub>task</sub> + λ R(w), &nbsp; R = Σ |w|, Σ<sub>g</sub> √n<sub>g</sub> ‖w<sub>g</sub>‖, …",
    },
    Why {
        technique: "share",
        text: "A weight needs few bits if it only says which of a few values it takes. The values are the means of clusters \
               of weights, and frequent ones get short codes, so that the file shrinks while the network runs as before.",
        formula: "w ← c<sub>k(w)</sub>, &nbsp; k(w) = argmin<sub>k</sub> |w − c<sub>k</sub>|, &nbsp; 2<sup>bits</sup> values \
                  c<sub>k</sub> a layer",
    },
    Why {
        technique: "slim",
        text: "Behind a batch norm, the factor γ of a channel scales all that the channel says. An L1 penalty drives the \
               factors of channels that are not needed to zero, and these channels are removed.",
        formula: "L = L<sub>task</sub> + λ Σ |γ|, &nbsp; γ ← γ − η (∂L<sub>task</sub>/∂γ + λ sign γ)",
    },
    Why {
        technique: "sparse_train",
        text: "The network has few weights from the first step on and never more. Now and then the smallest of them die, \
               and others grow where the loss falls fastest, so that training finds which connections it needs.",
        formula: "m ← m − [smallest |w|] + [largest |∂L/∂w| of what does not live]",
    },
    Why {
        technique: "sparsify",
        text: "Many weights hardly matter once a network is trained, and the criterion guesses which. They are set to \
               zero a few at a time while training goes on, so that the others can take over their part.",
        formula: "w ← m ⊙ w, &nbsp; m<sub>g</sub> = [score(g) above the s(t)-quantile], &nbsp; s(t) grows from 0 to s",
    },
    Why {
        technique: "train",
        text: "The weights follow the gradient of the loss downhill, a batch of images at a time. After a cut, this \
               lets what is left adapt; from random weights, it is where all knowledge comes from.",
        formula: "w ← w − η · step(∇<sub>w</sub> L), &nbsp; L = − log p<sub>w</sub>(class | image)",
    },
];

/// The reason behind the technique of this name.
pub fn why(technique: &str) -> Option<&'static Why> {
    WHYS.iter().find(|why| why.technique == technique)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_compress::StageKeys;

    #[test]
    fn every_technique_has_a_reason() {
        for kind in StageKeys::KINDS {
            assert!(why(kind.name).is_some(), "{}", kind.name);
        }
        assert!(why("train").is_some() && WHYS.is_sorted_by_key(|why| why.technique));
    }

    #[test]
    fn a_reason_is_two_sentences() {
        for Why { technique, text, .. } in &WHYS {
            assert_eq!(text.matches(". ").count() + 1, 2, "{technique}: {text}");
            assert!(text.ends_with('.') && text.len() < 320, "{technique}");
        }
    }
}
