"""The decorator: turns a class with annotations into a view of a parameter node."""

import pathlib
import typing

import slicer
import vtk

from .validators import Default
from .widgets import WidgetValue

SlicerParameterNamePropertyName = "SlicerParameterName"
_EMPTY = {bool: False, int: 0, float: 0.0, str: "", pathlib.Path: pathlib.Path()}


class _Parameter:
    """One attribute: how it is read from a node and written to it."""

    def __init__(self, name, hint, given):
        self.name = name
        self.kind, *marks = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        self.checks = [mark for mark in marks if hasattr(mark, "validate")]
        self.isNode = isinstance(self.kind, type) and issubclass(self.kind, slicer.vtkMRMLNode)
        if not self.isNode and self.kind not in _EMPTY:
            raise TypeError(f"The parameter node of this host does not know {hint} of {name}.")
        defaults = [mark.value for mark in marks if isinstance(mark, Default)]
        self.default = given if given is not None else next(iter(defaults), _EMPTY.get(self.kind))

    def read(self, node):
        if self.isNode:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if not node.GetParameterNames() or self.name not in node.GetParameterNames():
            return self.default
        return text == "True" if self.kind is bool else self.kind(text)

    def write(self, node, value):
        if self.isNode:
            if value is not None and not isinstance(value, self.kind):
                raise TypeError(f"{self.name} must be a {self.kind.__name__}.")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        if not isinstance(value, (int, float) if self.kind is float else self.kind):
            raise TypeError(f"{self.name} must be a {self.kind.__name__}, not {value!r}.")
        for check in self.checks:
            check.validate(value)
        node.SetParameter(self.name, str(value))

    def attribute(self):
        return property(
            lambda one: self.read(one.parameterNode), lambda one, value: self.write(one.parameterNode, value)
        )


class _Methods:
    """What every wrapped class can do besides reading and writing its parameters."""

    def __init__(self, parameterNode):
        self.parameterNode = parameterNode
        self._ties = {}
        self._busy = False

    def connectGui(self, gui):
        """Tie every widget with a property SlicerParameterName to its parameter; returns what disconnectGui needs."""
        widgets = gui.findChildren(_widgetClass()) if hasattr(gui, "findChildren") else vars(gui).values()
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping):
        for name in mapping:
            if name not in self.allParameters:
                raise ValueError(f"A widget names the parameter {name}, which does not exist.")
        values = {name: WidgetValue(widget) for name, widget in mapping.items()}
        for name, value in values.items():
            value.write(getattr(self, name))
            value.onChanged(lambda name=name, value=value: self._fromGui(name, value))
        tag = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda _caller, _event: self._toGui(values))
        self._ties[tag] = values
        return tag

    def disconnectGui(self, tag):
        for value in self._ties.pop(tag, {}).values():
            value.onChanged(None)
        if tag is not None:
            self.RemoveObserver(tag)

    def _fromGui(self, name, value):
        if not self._busy:
            setattr(self, name, value.read())

    def _toGui(self, values):
        if self._busy:
            return
        self._busy = True
        try:
            for name, value in values.items():
                value.write(getattr(self, name))
        finally:
            self._busy = False

    def default(self, name):
        return Default(self.allParameters[name].default)

    def getValue(self, name):
        return getattr(self, name)

    def setValue(self, name, value):
        setattr(self, name, value)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        return self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        return self.parameterNode.Modified()


def parameterNodeWrapper(classtype=None):
    """Class decorator; with or without parentheses."""
    return _wrap if classtype is None else _wrap(classtype)


def isParameterNodeWrapper(classOrObject):
    return hasattr(classOrObject, "allParameters")


def _wrap(classtype):
    hints = typing.get_type_hints(classtype, include_extras=True)
    parameters = {name: _Parameter(name, hint, vars(classtype).get(name)) for name, hint in hints.items()}
    for name, member in vars(_Methods).items():
        if callable(member):
            if name in parameters:
                raise ValueError(f"{name} is a reserved name of a parameter node.")
            setattr(classtype, name, member)
    for name, parameter in parameters.items():
        setattr(classtype, name, parameter.attribute())
    classtype.allParameters = parameters
    return classtype


def _widgetClass():
    import qt

    return qt.QWidget
