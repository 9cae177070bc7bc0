"""Where published faults were read: what ``Planted.seen_in`` names, in full."""

from __future__ import annotations

SOURCES: dict[str, str] = {
    "AdDP": "Utaliyeva et al. 2023, as an expert reads its figures",
    "AdLM": "Phan, Wu, Hu, Dou, ICDM 2017, arXiv:1709.05750; haiphanNJIT/PrivateDeepLearning "
    "(77fb357), AdLM/MNIST/AdLM.py and dpLRP_MNIST.py",
    "CADP": "Tölle, Köthe, André, Meder, Engelhardt, DeCaF 2022; Cardio-AI/CADP (100edeb)",
    "DP-CVAE of a published challenge": "PMBio/Health-Privacy-Challenge (e0449cf), "
    "src/generators/models/cvae.py",
    "DP-FETA": "S&P 2025; SunnierLee/DP-FETA (f95d3a7), dataset_tool.py",
    "DP-Kernel": "2019ChenGong/DPImageBench (565f8d7), models/dp_kernel.py",
    "DP-UTIL": "Jarin, Eshete, CODASPY 2022, arXiv:2112.12998; um-dsp/DP-UTIL (4ed31f8)",
    "DPImageBench": "CCS 2025, arXiv:2503.14681; 2019ChenGong/DPImageBench (565f8d7)",
    "DataLens": "Wang et al., CCS 2021, arXiv:2103.11109",
    "Fed-CDP": "Wei, Liu, TIFS 2022, arXiv:2112.13178; git-disl/Fed-CDP (5c84452)",
    "GS-WGAN": "Chen, Orekondy, Fritz, NeurIPS 2020, arXiv:2006.08265; DingfanChen/GS-WGAN "
    "(62e77b3), evaluation/privacy_analysis.py",
    "MC-GEN": "Li, Zhuang, Chang, Knowledge-Based Systems 2023, arXiv:2205.14298",
    "Opacus": "pytorch/opacus (4d0ebc8), releases up to 1.5.4, adaptive clipping",
    "PATE-GAN": "Jordon, Yoon, van der Schaar, ICLR 2019, and its public implementations",
    "PriCheXy-Net": "Packhäuser et al., MICCAI 2023, arXiv:2209.11531; "
    "kaipackhaeuser/PriCheXy-Net (29245d1)",
    "Tramèr and Boneh": "ICLR 2021, ftramer/Handcrafted-DP (6568e8f); De et al. 2022, "
    "arXiv:2204.13650",
    "Xie et al.": "Xie, Lin, Wang, Wang, Zhou 2018, arXiv:1802.06739, and its code",
    "dPA": "Phan et al., AAAI 2016; haiphanNJIT/PrivateDeepLearning (77fb357), dpautoencoder",
    "arXiv 2211.04686": "Faustini et al., arXiv:2211.04686, read as amplified by sampling",
}


def source_of(seen_in: str) -> str | None:
    """The sources that a planted defect names, in full; None where it is a fault of nobody else."""
    if seen_in.startswith("our own"):
        return None
    # Of two names of which one holds the other, the longer one is meant.
    named = [n for n in SOURCES if n in seen_in]
    kept = [n for n in named if not any(n != other and n in other for other in named)]
    return "; ".join(SOURCES[name] for name in kept) or None
