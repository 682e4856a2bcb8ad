"""The model repository on a claim: its layout, the manifest that describes it, and making it so.

Nothing is imported here: the sync Job starts for every change of a model, and what it does not
import it does not wait for.
"""
