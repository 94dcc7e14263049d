"""The module in its window, as a person meets it first. Runs in 3D Slicer (CTest) and outside of it (pytest)."""

import unittest
from pathlib import Path

import slicer


def moduleWidget():
    """The module's widget, shown: by Slicer itself, or by the host that stands in for its window."""
    if slicer.app.applicationName == "Slicer" and hasattr(slicer.util.mainWindow(), "moduleSelector"):
        slicer.util.selectModule("FedKDTAVI")
    elif not hasattr(slicer.modules, "FedKDTAVIWidget"):
        from pythonqt import loadModule

        loadModule(Path(__file__).resolve().parents[2] / "FedKDTAVI" / "FedKDTAVI.py")
    return slicer.modules.FedKDTAVIWidget


class ModuleTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear()
        self.widget = moduleWidget()
        self.widget.enter()
        self.ui = self.widget.ui

    def tearDown(self):
        self.widget.exit()
        slicer.mrmlScene.Clear()

    def test_moduleSaysWhatItIs(self):
        module = slicer.modules.fedkdtavi
        self.assertEqual(list(module.categories), ["Cardiac"])
        self.assertIn("not for clinical use", module.helpText)
        self.assertIn("npj Digital Medicine", module.acknowledgementText)

    def test_whatIsDisabledSaysWhy(self):
        names = [name for name in vars(self.ui) if name.endswith("Button") and hasattr(self.ui, name)]
        disabled = [name for name in names if not getattr(self.ui, name).enabled]
        self.assertIn("runButton", disabled)
        self.assertIn("acceptButton", disabled)
        self.assertEqual([name for name in disabled if not getattr(self.ui, name).toolTip.strip()], [])
        self.assertEqual(self.ui.runButton.toolTip, "Choose a CT first.")

    def test_sampleCt(self):
        self.ui.sampleButton.click()
        node = self.widget.window.workspace.volumeNode
        self.assertEqual(node.GetImageData().GetDimensions(), (158, 158, 81))
        self.assertIs(self.ui.inputSelector.currentNode(), node)
        self.assertIn("158 x 158 x 81", self.ui.volumeLabel.text)
        self.assertEqual(self.ui.problemLabel.text, "")

    def test_whatIsNoCtSaysWhy(self):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing in it")
        self.widget.window.workspace.parameterNode.inputVolume = node
        self.assertFalse(self.ui.runButton.enabled)
        self.assertEqual(self.ui.runButton.toolTip, self.ui.volumeLabel.text)
        self.assertIn("nothing in it", self.ui.volumeLabel.text)

    def test_sceneCloses(self):
        self.ui.sampleButton.click()
        slicer.mrmlScene.Clear()
        self.assertFalse(self.ui.runButton.enabled)
        self.widget.exit()
        self.widget.enter()
        self.assertIsNone(self.widget.window.workspace.volumeNode)
        self.ui.sampleButton.click()
        self.assertIsNotNone(self.widget.window.workspace.volumeNode)


if __name__ == "__main__":
    unittest.main()
