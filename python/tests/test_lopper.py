"""Tests of the package, with numpy only: LOPPER_TEST_MODEL names the model file of a residual network of 7 classes."""

import ast
import inspect
import os
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import lopper
import numpy as np

try:
    import torch
except ImportError:
    torch = None


def noise(*shape):
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


class Case(unittest.TestCase):
    def setUp(self):
        self.model = lopper.load(os.environ["LOPPER_TEST_MODEL"])
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def logits(self, model, images):
        return model.plan(batch=len(images)).run(images)


class Models(Case):
    def test_a_model_says_what_it_is(self):
        model = self.model
        self.assertEqual(model.input_shape, (20, 24, 3))
        self.assertEqual(len(model.classes), 7)
        self.assertEqual((model.arch, model.report), ("resnet8", ""))
        self.assertIn("resnet8, 20x24x3", repr(model))
        lines = model.summary().splitlines()
        self.assertTrue(lines[0].startswith("layer") and lines[-1].startswith("total"))
        self.assertIn(str(model.parameters), lines[-1])
        self.assertGreater(model.macs, model.parameters)
        self.assertEqual(np.float32(model.mean[0]), np.float32(0.48))
        self.assertRegex(lopper.__version__, r"\d+\.\d+\.\d+")

    def test_files_keep_the_bits(self):
        images = noise(3, 20, 24, 3)
        self.model.save(self.folder / "again.safetensors")
        again = lopper.load(str(self.folder / "again.safetensors"))
        np.testing.assert_array_equal(self.logits(again, images), self.logits(self.model, images))

    def test_onnx_keeps_the_function(self):
        images = noise(3, 20, 24, 3)
        self.model.export_onnx(self.folder / "x.onnx", opset=13)
        read = lopper.import_onnx(self.folder / "x.onnx", classes=list("abcdefg"), mean=[0, 0, 0], std=[1, 1, 1])
        self.assertEqual((read.classes[6], read.mean, read.std), ("g", [0, 0, 0], [1, 1, 1]))
        np.testing.assert_allclose(self.logits(read, images), self.logits(self.model, images), rtol=1e-4, atol=1e-5)
        self.model.export_onnx(self.folder / "y.onnx", opset=13, external_data=True)
        self.assertTrue((self.folder / "y.onnx.data").exists())
        beside = lopper.import_onnx(self.folder / "y.onnx")
        np.testing.assert_array_equal(self.logits(beside, images), self.logits(read, images))
        with self.assertRaisesRegex(lopper.Error, "mean: expected 3 entries, found 1"):
            lopper.import_onnx(self.folder / "x.onnx", mean=[0.5])
        with self.assertRaisesRegex(lopper.Error, "classes: expected 7 entries, found 2"):
            lopper.import_onnx(self.folder / "x.onnx", classes=["a", "b"])

    def test_modules_and_state_dicts_are_written(self):
        self.model.export_torch(self.folder / "net.py")
        self.model.export_state_dict(self.folder / "net.pth")
        written = {path.name for path in self.folder.iterdir()}
        self.assertEqual(written, {"net.py", "net.weights.safetensors", "net.pth"})

    def test_wrong_files_are_errors_that_name_them(self):
        for path, word in [("no/such/file", "no/such/file"), (__file__, "test_lopper.py")]:
            with self.assertRaisesRegex(lopper.FileError, word):
                lopper.load(path)
        with self.assertRaises(lopper.Error):
            lopper.load("/")
        with self.assertRaises(TypeError):
            lopper.load(7)
        with self.assertRaisesRegex(lopper.FileError, "no directory"):
            self.model.save(self.folder / "none" / "x.safetensors")
        with self.assertRaisesRegex(lopper.Error, "opset: expected 11 to 22, found 3"):
            self.model.export_onnx(self.folder / "x.onnx", opset=3)


class Techniques(Case):
    def test_fold_keeps_the_function(self):
        images = noise(2, 20, 24, 3)
        folded = self.model.fold()
        self.assertIn("fold:", folded.report)
        self.assertNotIn("batch norm", folded.summary())
        np.testing.assert_allclose(self.logits(folded, images), self.logits(self.model, images), rtol=1e-3, atol=1e-4)

    def test_prune_removes_channels(self):
        pruned = self.model.prune(criterion="l2_magnitude", fraction=0.5)
        self.assertLess(pruned.parameters, self.model.parameters / 2)
        self.assertIn("prune:", pruned.report)
        self.assertEqual(self.logits(pruned, noise(2, 20, 24, 3)).shape, (2, 7))
        half = self.model.prune(criterion="large_final", target={"macs": "0.5x"})
        self.assertLess(half.macs, 0.51 * self.model.macs)
        narrow = self.model.prune(criterion="l1_magnitude", width=np.float64(0.5), include=("layer1",))
        self.assertLess(narrow.parameters, self.model.parameters)

    def test_sparsify_then_prune_is_exact(self):
        images = noise(2, 20, 24, 3)
        sparse = self.model.sparsify(sparsity=0.4, granularity="filter", criterion="l1_magnitude")
        self.assertEqual(sparse.parameters, self.model.parameters)
        self.assertIn("% masked", sparse.summary())
        pruned = sparse.prune()
        self.assertLess(pruned.parameters, sparse.parameters)
        np.testing.assert_allclose(self.logits(pruned, images), self.logits(sparse, images), rtol=1e-3, atol=1e-4)
        compact = sparse.compact(min_saving=0.0)
        np.testing.assert_allclose(self.logits(compact, images), self.logits(sparse, images), rtol=1e-3, atol=1e-4)

    def test_factorize_splits_layers(self):
        split = self.model.factorize(fraction=0.6, conv="channel")
        self.assertLess(split.macs, self.model.macs)
        self.assertIn("factorize:", split.report)

    def test_criteria_look_at_images(self):
        images, labels = noise(40, 20, 24, 3), np.arange(40) % 7
        by_images = self.model.prune(criterion="taylor", fraction=0.5, data=(images, labels))
        again = self.model.prune(criterion="taylor", fraction=0.5, data=(images, list(labels)))
        np.testing.assert_array_equal(self.logits(by_images, images[:2]), self.logits(again, images[:2]))
        with self.assertRaises(lopper.Error):
            self.model.prune(criterion="taylor", fraction=0.5)
        with self.assertRaisesRegex(lopper.Error, "images: expected some of"):
            self.model.prune(criterion="taylor", fraction=0.5, data=(noise(2, 8, 8, 3), [0, 1]))
        with self.assertRaises(lopper.Error):
            self.model.sparsify(sparsity=0.5, criterion="taylor", data=(images[:1], [9]))

    def test_certificates_say_what_was_claimed_and_measured(self):
        self.assertEqual(self.model.certificates, [])
        images, labels = noise(70, 20, 24, 3), np.arange(70) % 7
        pruned = self.model.prune(criterion="taylor", fraction=0.5, data=(images, labels))
        folded = pruned.fold()
        cut, kept = folded.certificates
        self.assertEqual((cut.technique, cut.claim, cut.images, cut.holds), ("prune", "approximate", 64, None))
        self.assertGreater(cut.logit_difference, 0)
        what, share = cut.predicted
        self.assertTrue("squared weights" in what and 0 < share < 1)
        self.assertEqual((kept.technique, kept.claim, kept.images, kept.holds), ("fold", "exact", 4, True))
        self.assertTrue(kept.logit_difference <= kept.bound and kept.predicted is None and kept.epochs is None)
        self.assertTrue(str(kept).startswith("fold: exact, ") and repr(kept) == f"<lopper.Certificate {kept}>")
        folded.save(self.folder / "folded.safetensors")
        again = lopper.load(self.folder / "folded.safetensors")
        self.assertEqual([str(c) for c in again.certificates], [str(cut), str(kept)])
        split = self.model.factorize(fraction=0.6, conv="channel")
        self.assertIn("Eckart", split.certificates[0].predicted[0])

    def test_a_latency_in_milliseconds_is_measured(self):
        slow = self.model.prune(criterion="l2_magnitude", target={"latency": "1000ms"}, threads=1)
        self.assertEqual(slow.parameters, self.model.parameters, "it is fast enough already")
        self.assertRegex(slow.report, r"latency \d.* asked for \d+\.\d+ ms")
        with self.assertRaisesRegex(lopper.Error, "ms"):
            self.model.prune(criterion="l2_magnitude", target={"latency": "0.000001ms"}, threads=1)

    def test_wrong_options_are_errors_that_name_them(self):
        knot = []
        knot.append(knot)
        for options, kind, word in [
            ({"criterion": "l2_magnitude", "fractoin": 0.5}, lopper.Error, "fractoin"),
            ({"criterion": "best", "fraction": 0.5}, lopper.Error, "best"),
            ({"criterion": "l2_magnitude", "fraction": 1.5}, lopper.Error, "fraction"),
            ({"criterion": "l2_magnitude", "fraction": float("nan")}, TypeError, "not finite"),
            ({"criterion": "l2_magnitude", "fraction": object()}, TypeError, "object"),
            ({"criterion": "l2_magnitude"}, lopper.Error, "fraction"),
            ({"include": knot}, TypeError, "too many lists"),
            ({"seed": 1 << 70}, TypeError, "64 bits"),
            ({"include": ["nowhere"]}, lopper.Error, "nowhere"),
            ({"criterion": "l2_magnitude", "target": {"latency": "3 days"}}, lopper.Error, "3.2ms"),
        ]:
            with self.subTest(options=options), self.assertRaisesRegex(kind, word):
                self.model.prune(**options)
        with self.assertRaisesRegex(lopper.Error, "expected one of"):
            self.model.factorize()
        with self.assertRaises(TypeError):
            self.model.prune("l2_magnitude")


class Runs(Case):
    def test_threads_and_layouts_give_the_same_bits(self):
        images = noise(4, 20, 24, 3)
        expected = self.model.plan(4, 1).run(images)
        self.assertEqual((expected.shape, expected.dtype), ((4, 7), np.float32))
        for threads in [2, 3, None]:
            plan = self.model.plan(batch=4, threads=threads)
            self.assertEqual((plan.input_shape, plan.output_shape), ((4, 20, 24, 3), (4, 7)))
            np.testing.assert_array_equal(plan.run(images), expected)
        first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(self.model.plan(4).run(first, layout="NCHW"), expected)

    def test_runs_return_new_arrays(self):
        plan, images = self.model.plan(2), noise(2, 20, 24, 3)
        before = images.copy()
        first = plan.run(images)
        kept = first.copy()
        second = plan.run(np.zeros_like(images))
        np.testing.assert_array_equal(first, kept)
        np.testing.assert_array_equal(images, before)
        self.assertFalse(np.array_equal(first, second))
        second[:] = 1
        images.flags.writeable = False
        np.testing.assert_array_equal(plan.run(images), kept)

    def test_wrong_images_are_errors(self):
        plan, images = self.model.plan(2), noise(2, 20, 24, 3)
        crooked = np.frombuffer(b"x" + images.tobytes(), dtype=np.float32, offset=1).reshape(images.shape)
        for wrong, kind, word in [
            (images.astype(np.float64), TypeError, "float64"),
            (images.astype(">f4"), TypeError, "f4"),
            (images.tolist(), TypeError, "list"),
            (None, TypeError, "NoneType"),
            (images[0], ValueError, "4 axes"),
            (images[:1], lopper.Error, "shape"),
            (images[:, ::2], ValueError, "C order"),
            (np.asfortranarray(images), ValueError, "C order"),
            (crooked, ValueError, "C order"),
            (np.ascontiguousarray(images.transpose(0, 3, 1, 2)), lopper.Error, "shape"),
        ]:
            with self.subTest(word=word), self.assertRaisesRegex(kind, word):
                plan.run(wrong)
        with self.assertRaisesRegex(ValueError, "NHWC or NCHW"):
            plan.run(images, layout="HWC")
        for options, word in [({"batch": 0}, "batch"), ({"batch": 1 << 40}, "batch"), ({"threads": 0}, "threads"),
                              ({"device": "tpu"}, "device tpu")]:
            with self.subTest(options=options), self.assertRaisesRegex(lopper.Error, word):
                self.model.plan(**options)

    def test_evaluation_counts(self):
        images = noise(21, 20, 24, 3)
        logits = self.logits(self.model, images)
        labels = logits.argmax(1)
        labels[:3] = (labels[:3] + 1) % 7
        for batch in [1, 8, 100]:
            found = self.model.evaluate(images, labels, batch=batch, threads=2)
            self.assertEqual((found.images, found.top1), (21, 18 / 21))
            shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
            expected = (np.log(np.exp(shifted).sum(1)) - shifted[np.arange(21), labels]).mean()
            self.assertAlmostEqual(found.loss, expected, places=4)
            self.assertGreaterEqual(found.top5, found.top1)
        first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        self.assertEqual(self.model.evaluate(first, labels.astype(np.uint8), layout="NCHW").top1, found.top1)
        self.assertIn("top1=0.857", repr(found))
        for wrong, kind, word in [
            (labels[:5], ValueError, "labels: expected one for each of 21"),
            (labels.astype(float), TypeError, "expected integers"),
            (labels - 7, ValueError, "found -"),
            (labels + 7, lopper.Error, "out of range"),
            (np.arange(21) + (1 << 40), ValueError, "labels"),
        ]:
            with self.subTest(word=word), self.assertRaisesRegex(kind, word):
                self.model.evaluate(images, wrong)
        with self.assertRaisesRegex(lopper.Error, "found 0 of"):
            self.model.evaluate(images[:0], labels[:0])

    def test_other_threads_go_on_while_a_plan_runs(self):
        images, plan = noise(256, 20, 24, 3), self.model.plan(256, 1)
        beats, stop = [], threading.Event()

        def beat():
            while not stop.is_set():
                beats.append(1)
                time.sleep(0)

        # Without this, a thread that holds the interpreter's lock loses it from time to time.
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1000)
        other = threading.Thread(target=beat)
        other.start()
        inside = 0
        for _ in range(200):
            before = len(beats)
            plan.run(images)
            inside += len(beats) - before
            if inside:
                break
        stop.set()
        other.join()
        self.assertGreater(inside, 0, "a run holds the interpreter's lock")

    def test_threads_share_a_plan(self):
        images, plan = noise(4, 20, 24, 3), self.model.plan(4, 2)
        expected, wrong = plan.run(images), []

        def run():
            for _ in range(20):
                if not np.array_equal(plan.run(images), expected):
                    wrong.append(1)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_a_panic_is_an_exception(self):
        with self.assertRaisesRegex(lopper.InternalError, "a bug in lopper: on purpose"):
            lopper._lopper._panic("on purpose")
        self.assertTrue(issubclass(lopper.InternalError, lopper.Error) and issubclass(lopper.Error, Exception))


class Stubs(unittest.TestCase):
    def test_stubs_name_what_there_is(self):
        text = (Path(lopper.__file__).parent / "__init__.pyi").read_text()
        ast.parse(text)
        for name in lopper.__all__:
            self.assertRegex(text, rf"(class|def) {name}\b|^{name}:|\n{name}:")
        for kind in [lopper.Model, lopper.Plan, lopper.Evaluation, lopper.Certificate]:
            for name, member in inspect.getmembers(kind):
                if not name.startswith("_"):
                    self.assertIn(f"def {name}(", text)
                    self.assertTrue(callable(member) or inspect.isdatadescriptor(member))


@unittest.skipIf(torch is None, "PyTorch is not installed")
class Torch(Case):
    def test_to_torch_computes_as_the_plan(self):
        images = noise(3, 20, 24, 3)
        for model in [self.model, self.model.prune(criterion="l2_magnitude", fraction=0.5).fold()]:
            net = model.to_torch()
            self.assertFalse(net.training)
            with torch.inference_mode():
                found = net(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
            np.testing.assert_allclose(found, self.logits(model, images), rtol=1e-4, atol=1e-5)

    def test_from_torch_computes_as_the_module(self):
        nn = torch.nn
        torch.manual_seed(1)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(12, 5),
        )
        net[1].eval()
        example = torch.randn(2, 3, 18, 14)
        model = lopper.from_torch(net, example, classes=list("abcde"), mean=[0.5] * 3, std=[0.25] * 3)
        self.assertTrue(net.training and not net[1].training, "the module keeps its modes")
        self.assertEqual((model.input_shape, model.classes, model.std), ((18, 14, 3), list("abcde"), [0.25] * 3))
        self.assertIn("batch norm", model.summary())
        images = noise(4, 18, 14, 3)
        with torch.inference_mode():
            expected = net.eval()(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
        np.testing.assert_allclose(self.logits(model, images), expected, rtol=1e-4, atol=1e-5)
        pruned = model.prune(criterion="l1_magnitude", fraction=0.5).fold()
        self.assertLess(pruned.parameters, model.parameters)
        back = pruned.to_torch()
        with torch.inference_mode():
            found = back(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
        np.testing.assert_allclose(found, self.logits(pruned, images), rtol=1e-4, atol=1e-5)

    def test_what_has_no_layer_is_listed(self):
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.PixelShuffle(2))
        with self.assertRaises(lopper.Error):
            lopper.from_torch(net, torch.randn(1, 3, 8, 8))


if __name__ == "__main__":
    unittest.main()
