"""Stand-in for ``slicer.parameterNodeWrapper``: typed attributes over a vtkMRMLScriptedModuleNode, tied to widgets.

Knows nodes, bool, int, float, str and Path; another type raises when the class is defined. Values lie in the node as
Slicer writes them: nodes as references under the attribute's name, all others as parameters.
"""

from .validators import Choice, Default, Maximum, Minimum, WithinRange
from .wrapper import SlicerParameterNamePropertyName, isParameterNodeWrapper, parameterNodeWrapper

__all__ = [
    "Choice",
    "Default",
    "Maximum",
    "Minimum",
    "SlicerParameterNamePropertyName",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]
