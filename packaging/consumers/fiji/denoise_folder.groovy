// Denoises every TIFF of a folder in Fiji with a bmz-ddpm package (core profile).
//
//   fiji --headless --console --run denoise_folder.groovy "model='MODEL_FOLDER',input='IMAGES',output='RESULTS'"
//
// or open it in Fiji's script editor and press Run: Fiji asks for the three folders.

#@ File (label = "Model folder, with rdf.yaml", style = "directory") model
#@ File (label = "Folder with noisy TIFF images", style = "directory") input
#@ File (label = "Folder for the results", style = "directory") output

import ij.IJ

if (!new File(model, "rdf.yaml").isFile()) {
    throw new IllegalArgumentException("${model}: holds no rdf.yaml; unzip the package first")
}
def images = input.listFiles().findAll { it.name ==~ /(?i).*\.tiff?/ }.sort()
if (!images) {
    throw new IllegalArgumentException("${input}: holds no TIFF images")
}
output.mkdirs()
images.eachWithIndex { image, i ->
    def start = System.currentTimeMillis()
    IJ.run("DeepImageJ Run", "model_path=[${model}] input_path=[${image}] " +
        "output_folder=[${output}] display_output=null")
    println "${i + 1}/${images.size()} ${image.name}: ${(System.currentTimeMillis() - start) / 1000} s"
}
println "results are in ${output}"
