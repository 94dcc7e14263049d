"""The command line of the published system, flag for flag, on this project's engine.

Toelle et al., "Real world federated learning with a knowledge distilled transformer for cardiac CT imaging",
npj Digital Medicine 8:88, 2025. Flags become one :class:`~..federated.config.Experiment`; nothing is trained here.
"""
