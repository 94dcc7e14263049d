"""The value of a widget, whatever its kind: which property holds it, which signal tells of a change."""

import pathlib

# Class of the widget -> (property, signal); None: the current node.
_VALUES = {
    "QCheckBox": ("checked", "toggled(bool)"),
    "ctkCheckBox": ("checked", "toggled(bool)"),
    "QPushButton": ("checked", "toggled(bool)"),
    "QSpinBox": ("value", "valueChanged(int)"),
    "QSlider": ("value", "valueChanged(int)"),
    "QDoubleSpinBox": ("value", "valueChanged(double)"),
    "ctkSliderWidget": ("value", "valueChanged(double)"),
    "ctkDoubleSpinBox": ("value", "valueChanged(double)"),
    "QComboBox": ("currentText", "currentTextChanged(QString)"),
    "ctkComboBox": ("currentText", "currentTextChanged(QString)"),
    "QLineEdit": ("text", "textChanged(QString)"),
    "ctkPathLineEdit": ("currentPath", "currentPathChanged(QString)"),
    "ctkDirectoryButton": ("directory", "directoryChanged(QString)"),
    "qMRMLNodeComboBox": (None, "currentNodeChanged(vtkMRMLNode*)"),
}


class WidgetValue:
    """Reads and writes a widget's value, and calls back when the person changes it."""

    def __init__(self, widget):
        if widget.className() not in _VALUES:
            raise ValueError(f"No parameter can be tied to a {widget.className()}.")
        self._widget = widget
        self._property, self._signal = _VALUES[widget.className()]
        self._callback = None
        widget.connect(self._signal, self._tell)

    def onChanged(self, callback):
        self._callback = callback

    def read(self):
        return self._widget.currentNode() if self._property is None else getattr(self._widget, self._property)

    def write(self, value):
        if self._property is None:
            self._widget.setCurrentNode(value)
        else:
            setattr(self._widget, self._property, str(value) if isinstance(value, pathlib.Path) else value)

    def _tell(self, *_values):
        if self._callback is not None:
            self._callback()
