// Applies a bmz-ddpm package (ilastik profile) to the image that is open in QuPath and writes
// mean, std and entropy as an OME-TIFF with three channels from 0 to 1.
//
// Unzip the package, set the two paths below, open the image, and run this in QuPath's script
// editor. Needs the Deep Java Library extension with PyTorch.

def rdf = new File("MODEL_FOLDER/rdf.yaml")
def result = new File("RESULT.ome.tif")

import qupath.bioimageio.spec.BioimageIoSpec
import qupath.lib.images.writers.ome.OMEPyramidWriter
import qupath.opencv.ml.BioimageIoTools
import qupath.opencv.ml.PatchClassifierParams
import qupath.opencv.ml.pixel.PixelClassifierTools

def expected = ["mean", "std", "entropy"]

if (!rdf.isFile()) {
    throw new IllegalArgumentException("${rdf}: does not exist; unzip the package first")
}
def model = BioimageIoSpec.parseModel(rdf)
def params = BioimageIoTools.buildPatchClassifierParams(model)
if (params.getOutputClasses().size() != expected.size()) {
    throw new IllegalArgumentException("${rdf}: has ${params.getOutputClasses().size()} output " +
        "channels, ${expected.size()} are needed; use the package for ilastik and QuPath")
}
println "tile ${params.getPatchHeight()} x ${params.getPatchWidth()}, channels ${expected}"
def classifier = PatchClassifierParams.buildPixelClassifier(params)
def start = System.currentTimeMillis()
def server = PixelClassifierTools.createPixelClassificationServer(getCurrentImageData(), classifier)
OMEPyramidWriter.writeImage(server, result.getAbsolutePath())
println "${result}: ${(System.currentTimeMillis() - start) / 1000} s"
