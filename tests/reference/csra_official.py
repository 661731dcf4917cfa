"""The networks in the files of the CSRA authors, from torchvision's and timm's own classes and the paper's equations.

Built so that ``state_dict()`` has the names and shapes of such a file (layouts A and B; L1 and L2 on demand).
"""

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.models import resnet

TEMPERATURES = {1: [1], 2: [1, 99], 4: [1, 2, 4, 99], 6: [1, 2, 3, 4, 5, 99], 8: [1, 2, 3, 4, 5, 6, 7, 99]}


class OneHead(nn.Module):
    """``head.weight``, (C, D, 1, 1)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(channels, classes, 1, bias=False)

    def forward(self, x: Tensor, lam: float, temperature: float) -> Tensor:
        """Logits (B, C) of a map (B, D, h, w), picture by picture and class by class."""
        rows = []
        for picture in x.flatten(2):
            row = []
            for w in self.head.weight.flatten(1):
                s = (w @ picture) / w.norm()
                att = s.max() if temperature == 99 else ((temperature * s).softmax(0) * s).sum()
                row.append(s.mean() + lam * att)
            rows.append(torch.stack(row))
        return torch.stack(rows)


class Classifier(nn.Module):
    """``classifier.multi_head.{i}.head.weight``."""

    def __init__(self, channels: int, classes: int, heads: int) -> None:
        super().__init__()
        self.multi_head = nn.ModuleList(OneHead(channels, classes) for _ in range(heads))

    def forward(self, x: Tensor, lam: float) -> Tensor:
        """The sum over the heads."""
        temperatures = TEMPERATURES[len(self.multi_head)]
        return sum(head(x, lam, t) for head, t in zip(self.multi_head, temperatures, strict=True))


class OfficialResNet(resnet.ResNet):
    """torchvision's ResNet without its last layer, below CSRA."""

    def __init__(self, block, layers, classes: int, heads: int) -> None:
        super().__init__(block, layers)
        channels, self.fc = self.fc.in_features, nn.Identity()
        self.classifier = Classifier(channels, classes, heads)

    def forward(self, x: Tensor, lam: float) -> Tensor:
        """Logits (B, C)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.classifier(self.layer4(self.layer3(self.layer2(self.layer1(x)))), lam)


class OfficialViT(VisionTransformer):
    """timm's ViT without its last layer; CSRA reads the normalised patches, not the class token."""

    def __init__(self, classes: int, heads: int, **sizes) -> None:
        super().__init__(num_classes=0, global_pool='', **sizes)
        self.classifier = Classifier(self.embed_dim, classes, heads)

    def forward(self, x: Tensor, lam: float) -> Tensor:
        """Logits (B, C)."""
        patches = self.forward_features(x)[:, 1:].transpose(1, 2)
        side = int(patches.shape[-1] ** 0.5)
        return self.classifier(patches.unflatten(2, (side, side)), lam)


def official_resnet(depth: int, classes: int, heads: int) -> OfficialResNet:
    """Of depth 18 or 101, with statistics and biases that are not those of a fresh network."""
    block, layers = {
        18: (resnet.BasicBlock, [2, 2, 2, 2]),
        101: (resnet.Bottleneck, [3, 4, 23, 3]),
    }[depth]
    return _lively(OfficialResNet(block, layers, classes, heads))


def official_vit(classes: int, heads: int, **sizes) -> OfficialViT:
    """By default two layers of two attention heads on 4 x 4 patches; sizes are timm's arguments."""
    sizes = dict(img_size=64, patch_size=16, embed_dim=128, depth=2, num_heads=2) | sizes
    return _lively(OfficialViT(classes, heads, **sizes))


def _lively(model: nn.Module) -> nn.Module:
    """No weight at a start such as 0 or 1, at which a mistake would not show."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith('running_var'):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and tensor.dim() < 2:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model.eval()
