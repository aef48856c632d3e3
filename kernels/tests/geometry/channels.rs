//! Concatenation, its gradient, gathering, gates, resizing and the padded shortcut. They copy, or compute each element in a
//! fixed order, so every comparison is exact.

use crate::cases::run;
use crate::draw::{filled, output};
use crate::support::CPUS;
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::{self, PackedGather, PackedResize};
use lopper_kernels::reference;
use lopper_kernels::shapes::{Coordinates, Gate, PadShortcut, Resize, ResizeMode, Rounding};

#[test]
fn concatenations() {
    run("concatenations", 15, |draw| {
        let rows = draw.between(1..=200);
        let widths: Vec<usize> = (0..draw.between(1..=5)).map(|_| draw.between(1..=40)).collect();
        draw.about(format_args!("{rows} rows of {widths:?}"));
        let parts: Vec<Buffer> = widths.iter().map(|&c| draw.reals(rows * c)).collect();
        let with_widths: Vec<(&[f32], usize)> =
            parts.iter().zip(&widths).map(|(x, &c)| (&x[..], c)).collect();
        let len = rows * widths.iter().sum::<usize>();
        let want = filled(len, |y| reference::concat_forward(rows, &with_widths, y));
        for cpu in &*CPUS {
            let y = filled(len, |y| cpu::concat_forward(cpu, rows, &with_widths, y));
            assert_eq!(y[..], want[..], "{}", cpu.isa());
            let mut split: Vec<Buffer> = widths.iter().map(|c| output(rows * c)).collect();
            let mut to: Vec<_> = split.iter_mut().zip(&widths).map(|(x, &c)| (&mut x[..], c)).collect();
            cpu::split_channels(cpu, rows, &y, &mut to);
            for (split, part) in split.iter().zip(&parts) {
                assert_eq!(split[..], part[..], "{}", cpu.isa());
            }
        }
    });
}

#[test]
fn padded_shortcuts() {
    run("padded_shortcuts", 15, |draw| {
        let mut side = |most| draw.between(1..=most);
        let (n, h, w, c, stride) = (side(3), side(12), side(12), side(40), side(4));
        let g = PadShortcut { n, h, w, c, stride, before: draw.between(0..=20), after: draw.between(0..=20) };
        draw.about(format_args!("{g:?}"));
        let (x, dy) = (draw.reals(g.x_len()), draw.reals(g.y_len()));
        let y = filled(g.y_len(), |y| reference::pad_shortcut_forward(&g, &x, y));
        let dx = filled(g.x_len(), |dx| reference::pad_shortcut_input_grad(&g, &dy, dx));
        for cpu in &*CPUS {
            assert_eq!(filled(g.y_len(), |y| cpu::pad_shortcut_forward(cpu, &g, &x, y))[..], y[..]);
            assert_eq!(filled(g.x_len(), |dx| cpu::pad_shortcut_input_grad(cpu, &g, &dy, dx))[..], dx[..]);
        }
    });
}

#[test]
fn gatherings() {
    run("gatherings", 15, |draw| {
        let (rows, width, count) = (draw.between(1..=100), draw.between(1..=80), draw.between(1..=100));
        let list: Vec<u32> = match draw.between(0..=2) {
            0 => (0..count).map(|_| draw.between(0..=width - 1) as u32).collect(),
            1 => (draw.between(0..=width - 1)..width).map(|channel| channel as u32).collect(),
            _ => (0..width / 2 * 2).map(|i| (i % 2 * (width / 2) + i / 2) as u32).collect(),
        };
        let list = if list.is_empty() { vec![0] } else { list };
        draw.about(format_args!("{rows} rows of {width}, channels {list:?}"));
        let (x, dy) = (draw.reals(rows * width), draw.reals(rows * list.len()));
        let gather = PackedGather::new(width, &list);
        let y = filled(dy.len(), |y| reference::gather_forward(width, &list, &x, y));
        let dx = filled(x.len(), |dx| reference::gather_input_grad(width, &list, &dy, dx));
        for cpu in &*CPUS {
            assert_eq!(filled(dy.len(), |y| cpu::gather_forward(cpu, &gather, &x, y))[..], y[..]);
            assert_eq!(filled(x.len(), |dx| cpu::gather_input_grad(cpu, &gather, &dy, dx))[..], dx[..]);
        }
    });
}

#[test]
fn gates() {
    run("gates", 15, |draw| {
        let g = Gate { n: draw.between(1..=3), pixels: draw.between(1..=80), c: draw.between(1..=160) };
        draw.about(format_args!("{g:?}"));
        let (x, gate) = (draw.reals(g.x_len()), draw.reals(g.gate_len()));
        // Small integers add exactly in any order.
        let (integers, dy) = (draw.integers(g.x_len()), draw.integers(g.x_len()));
        let y = filled(g.x_len(), |y| reference::gate_forward(&g, &x, &gate, y));
        let dgate = filled(g.gate_len(), |dgate| reference::gate_grad(&g, &integers, &dy, dgate));
        for cpu in &*CPUS {
            assert_eq!(filled(g.x_len(), |y| cpu::gate_forward(cpu, &g, &x, &gate, y))[..], y[..]);
            let got = filled(g.gate_len(), |dgate| cpu::gate_grad(cpu, &g, &integers, &dy, dgate));
            assert_eq!(got[..], dgate[..], "{}", cpu.isa());
        }
    });
}

#[test]
fn resizes() {
    run("resizes", 15, |draw| {
        let coordinates =
            draw.pick(&[Coordinates::HalfPixel, Coordinates::Asymmetric, Coordinates::AlignCorners]);
        let rounding = draw.pick(&[Rounding::Floor, Rounding::Ceil, Rounding::HalfDown, Rounding::HalfUp]);
        let [n, h, w, c] = [2, 9, 9, 40].map(|most| draw.between(1..=most));
        let stride = [draw.between(1..=3), draw.between(1..=3)];
        let (mode, [oh, ow]) = match draw.between(0..=2) {
            0 => (ResizeMode::Stuff(stride), [(h - 1) * stride[0] + 1, (w - 1) * stride[1] + 1]),
            1 => (ResizeMode::Linear(coordinates), [draw.between(1..=20), draw.between(1..=20)]),
            _ => (ResizeMode::Nearest(coordinates, rounding), [draw.between(1..=20), draw.between(1..=20)]),
        };
        let g = Resize { n, h, w, c, oh, ow, mode };
        draw.about(format_args!("{g:?}"));
        let (x, dy, packed) = (draw.reals(g.x_len()), draw.reals(g.y_len()), PackedResize::new(&g));
        let y = filled(g.y_len(), |y| reference::resize_forward(&g, &x, y));
        let dx = filled(g.x_len(), |dx| reference::resize_input_grad(&g, &dy, dx));
        for cpu in &*CPUS {
            assert_eq!(filled(g.y_len(), |y| cpu::resize_forward(cpu, &packed, &x, y))[..], y[..]);
            assert_eq!(filled(g.x_len(), |dx| cpu::resize_input_grad(cpu, &packed, &dy, dx))[..], dx[..]);
        }
    });
}
