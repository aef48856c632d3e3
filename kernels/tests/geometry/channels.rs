//! Concatenation, its gradient, and the padded shortcut. They only copy, so every comparison is exact.

use crate::cases::run;
use crate::draw::{filled, output};
use crate::support::CPUS;
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu;
use lopper_kernels::reference;
use lopper_kernels::shapes::PadShortcut;

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
