//! The losses of distillation: their values by the formulas of their papers, written out in f64, and their gradients by
//! central differences of these.

use crate::support::noise;
use lopper_compress::distill::losses::*;
use lopper_engine::{Device, Tensor};

/// A matrix, row by row.
type Rows64 = Vec<Vec<f64>>;

fn rows(tensor: &Tensor) -> Rows64 {
    let width = tensor.len() / tensor.dim(0);
    tensor.data().chunks(width).map(|row| row.iter().map(|&x| f64::from(x)).collect()).collect()
}

fn logits(seed: u64) -> Tensor {
    Tensor::from_fn(&[5, 4], |i| 3.0 * noise(&[20], seed).data()[i])
}

/// Compares a loss with `formula`, and its gradient with the slopes of `formula`.
fn check(name: &str, measured: &Measured, student: &Tensor, formula: impl Fn(&Rows64) -> f64) {
    let at = rows(student);
    let (expected, width) = (formula(&at), at[0].len());
    assert!(
        (measured.value - expected).abs() < 1e-9 * (1.0 + expected.abs()),
        "{name}: {}, {expected}",
        measured.value
    );
    assert_eq!(measured.gradient.len(), student.len());
    let mut largest: f64 = 0.0;
    for (i, &gradient) in measured.gradient.iter().enumerate() {
        let moved = |by: f64| {
            let mut rows = at.clone();
            rows[i / width][i % width] += by;
            formula(&rows)
        };
        let slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        assert!((gradient - slope).abs() < 1e-7 * (1.0 + slope.abs()), "{name}, {i}: {gradient}, {slope}");
        largest = largest.max(gradient.abs());
    }
    assert!(largest > 1e-6, "{name}: no gradient");
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn softmax(row: &[f64], t: f64) -> Vec<f64> {
    let total: f64 = row.iter().map(|x| (x / t).exp()).sum();
    row.iter().map(|x| (x / t).exp() / total).collect()
}

fn kl(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum()
}

fn without(row: &[f64], y: usize) -> Vec<f64> {
    row.iter().enumerate().filter(|&(j, _)| j != y).map(|(_, &x)| x).collect()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

const LABELS: [u32; 5] = [0, 3, 1, 2, 3];

#[test]
fn losses_of_logits_are_those_of_their_papers() {
    let (student, teacher) = (logits(1), logits(2));
    let (s, p) = (Rows::of(&student).unwrap(), Rows::of(&teacher).unwrap());
    let theirs = rows(&teacher);
    let pairs = |ours: &Rows64| -> Vec<(Vec<f64>, Vec<f64>, usize)> {
        ours.iter().zip(&theirs).zip(LABELS).map(|((s, t), y)| (s.clone(), t.clone(), y as usize)).collect()
    };
    check("cosine", &cosine(&s, &p), &student, |ours| {
        mean(pairs(ours).iter().map(|(s, t, _)| 1.0 - dot(s, t) / (dot(s, s) * dot(t, t)).sqrt()))
    });
    for (t, alpha, beta) in [(4.0, 1.0, 8.0), (1.0, 0.5, 0.0), (2.0, 0.0, 3.0)] {
        check("dkd", &decoupled(&s, &p, &LABELS, t, [alpha, beta]), &student, |ours| {
            mean(pairs(ours).iter().map(|(s, p, y)| {
                let (ps, pt) = (softmax(s, t), softmax(p, t));
                let binary = |p: &[f64]| vec![p[*y], 1.0 - p[*y]];
                let others = kl(&softmax(&without(p, *y), t), &softmax(&without(s, *y), t));
                t * t * (alpha * kl(&binary(&pt), &binary(&ps)) + beta * others)
            }))
        });
        check("nkd", &normalized(&s, &p, &LABELS, t, beta), &student, |ours| {
            mean(pairs(ours).iter().map(|(s, p, y)| {
                let (hit_s, hit_t) = (softmax(s, 1.0)[*y], softmax(p, 1.0)[*y]);
                let (others_s, others_t) = (softmax(&without(s, *y), t), softmax(&without(p, *y), t));
                let cross: f64 = others_t.iter().zip(&others_s).map(|(p, s)| p * s.ln()).sum();
                -hit_t * hit_s.ln() - beta * t * t * cross
            }))
        });
    }
    let deviation = |z: &[f64]| {
        let m = mean(z.iter().copied());
        (z.iter().map(|z| (z - m).powi(2)).sum::<f64>() / (z.len() - 1) as f64).sqrt()
    };
    check("normkd", &normkd(&s, &p, 2.0), &student, |ours| {
        mean(pairs(ours).iter().map(|(s, p, _)| {
            let (t_s, t_t) = (2.0 * deviation(s), 2.0 * deviation(p));
            t_t * t_t * kl(&softmax(p, t_t), &softmax(s, t_s))
        }))
    });
    check("dist", &dist(&s, &p, 3.0, [2.0, 0.5]), &student, |ours| {
        let probabilities = |rows: &Rows64| -> Rows64 { rows.iter().map(|row| softmax(row, 3.0)).collect() };
        let (ps, pt) = (probabilities(ours), probabilities(&theirs));
        let transposed =
            |rows: &Rows64| -> Rows64 { (0..4).map(|k| rows.iter().map(|row| row[k]).collect()).collect() };
        let apart = |a: &Rows64, b: &Rows64| mean(a.iter().zip(b).map(|(a, b)| 1.0 - pearson(a, b)));
        9.0 * (2.0 * apart(&ps, &pt) + 0.5 * apart(&transposed(&ps), &transposed(&pt)))
    });
}

fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let (ma, mb) = (mean(a.iter().copied()), mean(b.iter().copied()));
    let centered = |x: &[f64], m: f64| x.iter().map(|x| x - m).collect::<Vec<_>>();
    let (a, b) = (centered(a, ma), centered(b, mb));
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

/// DKD splits soft targets: with α = 1 and β = 1 − pᵀ_y of every image it is the KL divergence of all classes. Here with
/// one image.
#[test]
fn decoupled_distillation_puts_soft_targets_together_again() {
    let (student, teacher) = (noise(&[1, 4], 3), noise(&[1, 4], 4));
    let (s, p) = (Rows::of(&student).unwrap(), Rows::of(&teacher).unwrap());
    let (ours, theirs) = (softmax(&rows(&student)[0], 2.0), softmax(&rows(&teacher)[0], 2.0));
    let found = decoupled(&s, &p, &[1], 2.0, [1.0, 1.0 - theirs[1]]).value;
    assert!((found - 4.0 * kl(&theirs, &ours)).abs() < 1e-12);
}

#[test]
fn losses_of_maps_are_those_of_their_papers() {
    let (student, teacher) = (noise(&[3, 2, 4, 5], 1), noise(&[3, 2, 4, 7], 2));
    let map = |t| Map::of(t).unwrap();
    for p in [2.0, 1.0, 3.0] {
        let attended = |image: &[f64], channels: usize| {
            let q: Vec<f64> =
                image.chunks(channels).map(|pixel| mean(pixel.iter().map(|x| x.abs().powf(p)))).collect();
            let norm = dot(&q, &q).sqrt();
            q.into_iter().map(|q| q / norm).collect::<Vec<_>>()
        };
        check("attention", &attention(map(&student), map(&teacher), p), &student, |ours| {
            let images = ours.iter().zip(rows(&teacher));
            mean(images.flat_map(|(s, t)| {
                let (q, r) = (attended(s, 5), attended(&t, 7));
                q.into_iter().zip(r).map(|(q, r)| (q - r).powi(2)).collect::<Vec<_>>()
            }))
        });
    }
    let teacher = noise(&[3, 2, 4, 5], 2);
    for t in [4.0, 0.5] {
        check("cwd", &channelwise(map(&student), map(&teacher), t), &student, |ours| {
            let channel = |image: &[f64], c: usize| {
                let pixels: Vec<f64> = image.chunks(5).map(|pixel| pixel[c]).collect();
                softmax(&pixels, t)
            };
            let image = |(s, p): (&Vec<f64>, Vec<f64>)| {
                t * t / 5.0 * (0..5).map(|c| kl(&channel(&p, c), &channel(s, c))).sum::<f64>()
            };
            mean(ours.iter().zip(rows(&teacher)).map(image))
        });
    }
    check("boundaries", &boundaries(map(&student), map(&teacher), 0.5), &student, |ours| {
        // As fastai writes it.
        mean(ours.iter().zip(rows(&teacher)).flat_map(|(s, t)| {
            let one = |(&s, t): (&f64, f64)| match t > 0.0 {
                true if s <= 0.5 => (s - 0.5).powi(2),
                false if s > -0.5 => (s + 0.5).powi(2),
                _ => 0.0,
            };
            s.iter().zip(t).map(one).collect::<Vec<_>>()
        }))
    });
}

fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

fn huber(x: f64) -> f64 {
    if x.abs() < 1.0 { x * x / 2.0 } else { x.abs() - 0.5 }
}

/// The loss of features by a function of Gram matrices.
fn related(
    loss: fn(&Gram, &Gram) -> Measured,
    student: &Tensor,
    teacher: &Tensor,
    device: &Device,
) -> Measured {
    let (s, t) = (Map::of(student).unwrap(), Map::of(teacher).unwrap());
    Gram::back(s, &loss(&Gram::of(s, device), &Gram::of(t, device)), device)
}

#[test]
fn losses_of_relations_are_those_of_their_papers() {
    let device = Device::cpu();
    // The teacher's features are five times as far apart, so that Huber's function is straight for some pairs.
    let (student, teacher) = (noise(&[5, 6], 1), noise(&[5, 2, 1, 4], 2));
    let theirs = rows(&teacher);
    let n = 5;
    check("similarity", &related(similarity, &student, &teacher, &device), &student, |ours| {
        let gram = |f: &Rows64| -> Rows64 {
            f.iter()
                .map(|a| {
                    let row: Vec<f64> = f.iter().map(|b| dot(a, b)).collect();
                    let length = norm(&row);
                    row.into_iter().map(|x| x / length).collect()
                })
                .collect()
        };
        gram(ours).iter().zip(gram(&theirs)).map(|(a, b)| minus(a, &b)).map(|d| dot(&d, &d)).sum::<f64>()
            / 25.0
    });
    let distance = |f: &Rows64| -> Rows64 {
        let d: Rows64 = f.iter().map(|a| f.iter().map(|b| norm(&minus(a, b))).collect()).collect();
        let mu = d.iter().flatten().sum::<f64>() / (n * (n - 1)) as f64;
        d.into_iter().map(|row| row.into_iter().map(|d| d / mu).collect()).collect()
    };
    check("distances", &related(distances, &student, &teacher, &device), &student, |ours| {
        let (s, t) = (distance(ours), distance(&theirs));
        mean(s.iter().zip(&t).flat_map(|(s, t)| minus(s, t)).map(huber))
    });
    let angle = |f: &Rows64, i: usize, j: usize, k: usize| {
        let (a, b) = (minus(&f[i], &f[j]), minus(&f[k], &f[j]));
        if i == j || k == j { 0.0 } else { dot(&a, &b) / (norm(&a) * norm(&b)) }
    };
    check("angles", &related(angles, &student, &teacher, &device), &student, |ours| {
        mean((0..n * n * n).map(|at| {
            let (i, j, k) = (at / (n * n), at / n % n, at % n);
            huber(angle(ours, i, j, k) - angle(&theirs, i, j, k))
        }))
    });
    let neighbors = |f: &Rows64| -> Rows64 {
        f.iter()
            .map(|a| {
                let row: Vec<f64> = f.iter().map(|b| (1.0 + dot(a, b) / (norm(a) * norm(b))) / 2.0).collect();
                let sum: f64 = row.iter().sum();
                row.into_iter().map(|k| k / sum).collect()
            })
            .collect()
    };
    check("pkt", &related(probabilities, &student, &teacher, &device), &student, |ours| {
        let pairs = neighbors(ours).into_iter().flatten().zip(neighbors(&theirs).into_iter().flatten());
        mean(pairs.map(|(s, t)| t * ((t + 1e-7) / (s + 1e-7)).ln()))
    });
}

/// As the authors' code has it: the margin ReLU, squares, and a mask of what is compared.
#[test]
fn the_overhaul_compares_what_passes_or_should_not() {
    let (student, teacher) = (noise(&[3, 2, 4, 5], 1), noise(&[3, 2, 4, 5], 2));
    let margins = [-0.1, -0.5, -0.9, 0.0, -0.3];
    let measured = partial(Map::of(&student).unwrap(), Map::of(&teacher).unwrap(), &margins);
    check("ofd", &measured, &student, |ours| {
        mean(ours.iter().zip(rows(&teacher)).flat_map(|(s, t)| {
            let one = |(i, (&s, t)): (usize, (&f64, f64))| {
                let t = t.max(margins[i % 5]);
                if s > t || t > 0.0 { (s - t).powi(2) } else { 0.0 }
            };
            s.iter().zip(t).enumerate().map(one).collect::<Vec<_>>()
        }))
    });
    // A student far below the margins has only the teacher's active values to learn.
    let low = Tensor::full(&[3, 2, 4, 5], -9.0);
    let measured = partial(Map::of(&low).unwrap(), Map::of(&teacher).unwrap(), &margins);
    for (gradient, &t) in measured.gradient.iter().zip(teacher.data()) {
        assert_eq!(*gradient != 0.0, t > 0.0);
    }
}

/// Of three images and a memory of five: −log h of the own pair and −log (1 − h) of those of other classes, where h is the
/// formula of the paper, with Z = M·ē. An image without negatives has no loss, and lengths do not count.
#[test]
fn contrast_is_the_noise_contrastive_estimate_of_its_paper() {
    let device = Device::cpu();
    let (heads, temperature, images) = (noise(&[3, 4], 1), 0.3, 1000.0);
    let memory: Rows64 =
        rows(&noise(&[5, 4], 2)).iter().map(|v| v.iter().map(|x| x / norm(v)).collect()).collect();
    let flat = memory.concat();
    let anchors: Vec<Anchor> = [(0, vec![1, 3, 4]), (4, vec![2]), (2, vec![])]
        .map(|(positive, negatives)| Anchor { positive, negatives })
        .into();
    let others = Memory { embeddings: &flat, temperature };
    let e = |u: &[f64], place: usize| (dot(u, &memory[place]) / norm(u) / temperature).exp();
    let ours = rows(&heads);
    let pairs = [(0, 0), (0, 1), (0, 3), (0, 4), (1, 4), (1, 2), (2, 2)];
    let first_mean = mean(pairs.map(|(image, place)| e(&ours[image], place)).into_iter());
    let log_mean = others.log_mean(&Rows::of(&heads).unwrap(), &anchors).unwrap();
    assert!((log_mean - first_mean.ln()).abs() < 1e-12);
    let measured = others.contrast(&Rows::of(&heads).unwrap(), &anchors, log_mean, &device);
    check("crd", &measured, &heads, |ours| {
        let one = |(u, anchor): (&Vec<f64>, &Anchor)| {
            let count = anchor.negatives.len() as f64;
            let h = |place: usize| {
                let p = e(u, place) / (images * first_mean);
                p / (p + count / images)
            };
            let apart: f64 = anchor.negatives.iter().map(|&place| (1.0 - h(place)).ln()).sum();
            -h(anchor.positive).ln() - apart
        };
        mean(ours.iter().zip(&anchors).map(one))
    });
    let alone = vec![Anchor { positive: 0, negatives: Vec::new() }; 3];
    assert_eq!(others.log_mean(&Rows::of(&heads).unwrap(), &alone), None);
    for threads in [1, 3] {
        let device = Device::open("cpu", Some(threads)).unwrap();
        assert_eq!(others.contrast(&Rows::of(&heads).unwrap(), &anchors, log_mean, &device), measured);
    }
}

/// Likenesses whose exponentials have no finite value in f64 have finite losses.
#[test]
fn contrast_is_finite_at_any_temperature() {
    let heads = Rows::of(&Tensor::from_slice(&[2, 2], &[1.0, 0.0, 0.0, 0.0]).unwrap()).unwrap();
    let anchors = vec![Anchor { positive: 1, negatives: vec![0] }; 2];
    let others = Memory { embeddings: &[1.0, 0.0, -1.0, 0.0], temperature: 1e-5 };
    let log_mean = others.log_mean(&heads, &anchors).unwrap();
    let measured = others.contrast(&heads, &anchors, log_mean, &Device::cpu());
    assert!(measured.value.is_finite() && measured.value > 1e4, "{}", measured.value);
    assert!(measured.gradient.iter().all(|g| g.is_finite()));
}

/// What is added to all pixels of a channel, however much, does not count.
#[test]
fn channelwise_distillation_compares_places_alone() {
    let teacher = noise(&[2, 3, 3, 4], 5);
    let strength = |i: usize| [0.0, 90.0, -3.0, 0.5][i % 4];
    let student = Tensor::from_fn(&[2, 3, 3, 4], |i| teacher.data()[i] + strength(i));
    let measured = channelwise(Map::of(&student).unwrap(), Map::of(&teacher).unwrap(), 1.0);
    assert!(measured.value.abs() < 1e-9, "{}", measured.value);
    assert!(measured.gradient.iter().all(|g| g.abs() < 1e-6));
}

/// Images that are equal, or without features, have no distance, angle or cosine: no NaN.
#[test]
fn degenerate_batches_have_finite_losses() {
    let device = Device::cpu();
    let teacher = noise(&[4, 3], 2);
    let equal = Tensor::full(&[4, 3], 0.7);
    let nothing = Tensor::zeros(&[4, 3]);
    for student in [&equal, &nothing] {
        for loss in [similarity, distances, angles, probabilities] {
            for (a, b) in [(student, &teacher), (&teacher, student), (student, student)] {
                let measured = related(loss, a, b, &device);
                assert!(measured.value.is_finite() && measured.gradient.iter().all(|g| g.is_finite()));
            }
        }
        let (s, t) = (Map::of(student).unwrap(), Map::of(&teacher).unwrap());
        let (r, p) = (Rows::of(student).unwrap(), Rows::of(&teacher).unwrap());
        let all = [
            attention(s, t, 2.0),
            channelwise(s, t, 4.0),
            cosine(&r, &p),
            normkd(&r, &p, 2.0),
            normkd(&p, &r, 2.0),
            dist(&r, &p, 1.0, [1.0; 2]),
            dist(&p, &r, 1.0, [1.0; 2]),
        ];
        assert!(all.iter().all(|m| m.value.is_finite() && m.gradient.iter().all(|g| g.is_finite())));
    }
    // One class has all the probability there is.
    let (sure, other) = (Tensor::from_slice(&[1, 3], &[900.0, 0.0, -900.0]).unwrap(), noise(&[1, 3], 1));
    let (sure, other) = (Rows::of(&sure).unwrap(), Rows::of(&other).unwrap());
    for (s, t) in [(&sure, &other), (&other, &sure)] {
        for measured in [decoupled(s, t, &[0], 1.0, [1.0, 8.0]), normalized(s, t, &[0], 1.0, 1.5)] {
            assert!(measured.value.is_finite() && measured.gradient.iter().all(|g| g.is_finite()));
        }
    }
}

#[test]
fn relations_have_the_same_bits_for_any_number_of_threads() {
    let (student, teacher) = (noise(&[13, 37], 1), noise(&[13, 11], 2));
    let of = |threads: usize| {
        let device = Device::open("cpu", Some(threads)).unwrap();
        related(angles, &student, &teacher, &device)
    };
    let one = of(1);
    for threads in [2, 3, 7] {
        assert_eq!(of(threads), one);
    }
}
