# Stands in for 3D Slicer's CMake package, found with -DSlicer_DIR=Testing/cmake: enough to configure, build and install
# the extension without Slicer, and to write down what each of Slicer's macros was given. Arguments and effects as in
# Slicer 5.12 (CMake/SlicerMacroBuildScriptedModule.cmake, CTK's ctkMacroCompilePythonScript.cmake,
# CMake/SlicerMacroPythonTesting.cmake); byte compilation and translation are left out.

set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/ExtensionDone.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/ExtensionDone.cmake")
