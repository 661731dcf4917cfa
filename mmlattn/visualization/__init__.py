from .evidence_visualizer import EvidenceVisualizer

__all__ = ['EvidenceVisualizer']
